"""A training that goes on elsewhere: the same losses to the last digit, and the same adapter."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.training import TrainJob
from shared.training_runs import STATE_FILE, TrainState
from tests.training import dpo_rows, fill, make_job, make_videos, sft_rows
from workers.train.ending import Ending, Stopped
from workers.train.report import StepReporter
from workers.train.run import train

pytestmark = pytest.mark.model

ADAPTER = "adapter/adapter_model.safetensors"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_videos(tmp_path_factory.mktemp("videos"))


class EndsAfter(Ending):
    """Asked to end while a step is worked on."""

    def __init__(self, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        on_log = StepReporter.on_log

        def heard(reporter: StepReporter, args: Any, state: Any, *rest: Any, **more: Any) -> None:
            on_log(reporter, args, state, *rest, **more)
            self.asked = self.asked or state.global_step == step - 1

        monkeypatch.setattr(StepReporter, "on_log", heard)


def _losses(folder: Path, step: int) -> tuple[float, ...]:
    text = (folder / "checkpoints" / str(step) / STATE_FILE).read_text()
    return TrainState.model_validate_json(text).losses


def _resumed(
    job: TrainJob,
    rows: list[dict[str, Any]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    **how: Any,
) -> None:
    """Trained at once, and stopped and gone on with in another place: the same."""
    for name in ("whole", "first", "second"):
        fill(folder / name, rows, **how)
    whole = train(job, folder / "whole")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        train(job, folder / "first", EndsAfter(3, patch))
    shutil.copytree(folder / "first/checkpoints/3", folder / "second/checkpoint")
    second = train(job, folder / "second")
    assert _losses(folder / "second", job.steps) == _losses(folder / "whole", job.steps)
    assert second == whole
    assert (folder / "second" / ADAPTER).read_bytes() == (folder / "whole" / ADAPTER).read_bytes()


@pytest.mark.parametrize("quantized", [False, True])
def test_sft_goes_on_to_the_last_digit(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantized: bool
) -> None:
    job = make_job(steps=6, save_every=4, quantized=quantized)
    _resumed(job, sft_rows(videos), tmp_path, monkeypatch)


def test_dpo_goes_on_to_the_last_digit(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(steps=6, stage="dpo")
    _resumed(job, dpo_rows(videos), tmp_path, monkeypatch)
