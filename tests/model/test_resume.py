"""A training that goes on elsewhere: the same losses to the last digit, and the same adapter."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers.models.llama.modeling_llama import LlamaAttention

from shared.training import TrainJob
from shared.training_runs import STATE_FILE, TrainState
from tests.decoders import standing_by
from tests.training import dpo_rows, fill, make_job, make_videos, sft_rows
from tests.waiting import wait_until
from workers.train.clips import Clips
from workers.train.collate import SftCollator
from workers.train.ending import Ending, Stopped
from workers.train.report import StepReporter
from workers.train.run import TrainResult, load_base, train

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


@pytest.mark.parametrize(
    ("stage", "quantized"),
    [("dpo", True), ("sft", True), ("dpo", False)],
)
def test_a_training_goes_on_elsewhere_to_the_last_digit(
    videos: dict[str, Path], tmp_path: Path, stage: str, quantized: bool
) -> None:
    """In the middle of an epoch."""
    rows = dpo_rows(_few(videos)) if stage == "dpo" else sft_rows(_few(videos))
    job = make_job(stage=stage, steps=5, batch_size=3, save_every=2, quantized=quantized)
    whole = _trained(job, rows, tmp_path / "whole")
    again = _trained(job, rows, tmp_path / "again", tmp_path / "whole/checkpoints/2")
    _same(tmp_path / "whole", tmp_path / "again", 5)
    assert again == whole


def test_a_training_that_is_asked_to_end_goes_on_from_that_very_step_and_reads_nothing_before_it(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model draws at random, too: one with dropout."""
    monkeypatch.setattr(LlamaAttention, "__init__", _forgetful(LlamaAttention.__init__))
    rows = sft_rows(_few(videos))
    job = make_job(steps=5, batch_size=3, save_every=4)
    whole = _trained(job, rows, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        _trained(job, rows, tmp_path / "first", ending=EndsAfter(2, patch))
    (left,) = (tmp_path / "first/checkpoints").iterdir()
    assert left.name == "2"
    assert _trained(job, rows, tmp_path / "second", left) == whole
    _same(tmp_path / "whole", tmp_path / "second", 5)

    # As if it had got very far: its batch is the only one that is made.
    far = tmp_path / "second/checkpoints/5"
    text = (far / STATE_FILE).read_text()
    state = TrainState.model_validate_json(text).model_copy(update={"step": 20_000})
    (far / STATE_FILE).write_text(state.model_dump_json())
    made, looked, before_step = [], list[str](), list[int]()
    collate, pixels, on_log = SftCollator.__call__, Clips.pixels, StepReporter.on_log

    def spy(collator: SftCollator, features: Any) -> Any:
        made.append(features)
        return collate(collator, features)

    def look(clips: Clips, key: str) -> Any:
        looked.append(key)
        return pixels(clips, key)

    def heard(*arguments: Any, **named: Any) -> None:
        before_step.append(len(looked))
        on_log(*arguments, **named)

    monkeypatch.setattr(SftCollator, "__call__", spy)
    monkeypatch.setattr(Clips, "pixels", look)

    def load(*arguments: Any) -> Any:
        wait_until(lambda: standing_by() != [], 30, "a decoder, while the model is loaded")
        return load_base(*arguments)

    monkeypatch.setattr(StepReporter, "on_log", heard)
    monkeypatch.setattr("workers.train.run.load_base", load)
    _trained(make_job(steps=20_001, batch_size=3), rows, tmp_path / "far", far)
    assert len(made) == 1
    # Nothing that another machine has seen is kept here, and no other video is looked at for it.
    assert before_step[0] == 3


def _few(videos: dict[str, Path]) -> dict[str, Path]:
    return dict(list(videos.items())[:5])


def _trained(
    job: TrainJob,
    rows: list[dict[str, Any]],
    folder: Path,
    checkpoint: Path | None = None,
    ending: Ending | None = None,
) -> TrainResult:
    fill(folder, rows)
    if checkpoint is not None:
        shutil.copytree(checkpoint, folder / "checkpoint")
    return train(job, folder, ending)


def _same(one: Path, other: Path, steps: int) -> None:
    assert _losses(one, steps) == _losses(other, steps)
    assert (one / ADAPTER).read_bytes() == (other / ADAPTER).read_bytes()


def _losses(folder: Path, step: int) -> tuple[float, ...]:
    text = (folder / "checkpoints" / str(step) / STATE_FILE).read_text()
    return TrainState.model_validate_json(text).losses


def _forgetful(build: Any) -> Any:
    def built(self: LlamaAttention, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        self.attention_dropout = 0.1

    return built
