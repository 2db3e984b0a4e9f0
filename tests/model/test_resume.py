"""A training that goes on elsewhere: the same losses to the last digit, and the same adapter."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers.models.llama.modeling_llama import LlamaAttention

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


@pytest.mark.parametrize(
    ("stage", "quantized"),
    [
        ("sft", False),
        ("dpo", True),
        pytest.param("sft", True, marks=pytest.mark.soak),
        pytest.param("dpo", False, marks=pytest.mark.soak),
    ],
)
def test_a_training_goes_on_elsewhere_to_the_last_digit(
    videos: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    quantized: bool,
) -> None:
    """Stopped in the middle of an epoch. The model draws at random, too: one with dropout."""
    monkeypatch.setattr(LlamaAttention, "__init__", _forgetful(LlamaAttention.__init__))
    named = dict(list(videos.items())[:5])
    rows = dpo_rows(named) if stage == "dpo" else sft_rows(named)
    for name in ("whole", "first", "second"):
        fill(tmp_path / name, rows)
    job = make_job(stage=stage, steps=5, batch_size=3, save_every=4, quantized=quantized)
    whole = train(job, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        train(job, tmp_path / "first", EndsAfter(2, patch))
    assert [path.name for path in (tmp_path / "first/checkpoints").iterdir()] == ["2"]
    shutil.copytree(tmp_path / "first/checkpoints/2", tmp_path / "second/checkpoint")
    second = train(job, tmp_path / "second")
    assert _losses(tmp_path / "second", 5) == _losses(tmp_path / "whole", 5)
    assert second == whole
    assert (tmp_path / "second" / ADAPTER).read_bytes() == (
        tmp_path / "whole" / ADAPTER
    ).read_bytes()


def _forgetful(build: Any) -> Any:
    def built(self: LlamaAttention, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        self.attention_dropout = 0.1

    return built
