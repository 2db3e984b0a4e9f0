"""QLoRA or not: one rule, and every case of it."""

import json
from pathlib import Path

import pytest

from shared.errors import BadData
from shared.messages import decode
from shared.rows import Stage
from shared.stages import check_job
from shared.training import TrainJob
from tests.training import make_job
from workers.train.job import _digest_of_what_is_trained as digest
from workers.train.quantizing import decided, usual_weights


@pytest.mark.parametrize("stage", ["sft", "dpo", "kto"])
def test_four_bits_are_usual_on_a_gpu_and_nowhere_else(stage: Stage) -> None:
    assert usual_weights(stage, on_gpu=True).quantized
    without = usual_weights(stage, on_gpu=True, bitsandbytes=False)
    assert not without.quantized
    assert "bitsandbytes is not installed" in str(without.note)
    for bitsandbytes in (True, False):
        on_cpu = usual_weights(stage, on_gpu=False, bitsandbytes=bitsandbytes)
        assert (on_cpu.quantized, on_cpu.note) == (False, None)


def test_the_projector_is_never_aligned_to_rounded_weights() -> None:
    for on_gpu in (True, False):
        found = usual_weights("align", on_gpu=on_gpu)
        assert (found.quantized, found.note) == (False, None)
    with pytest.raises(BadData, match="the stage 'align' is not trained on 4-bit") as caught:
        check_job(make_job(stage="align", quantized=True))
    assert "--quantized" in caught.value.cure
    check_job(make_job(stage="align", quantized=False))


@pytest.mark.parametrize("on_gpu", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_what_a_job_says_counts(asked: bool, on_gpu: bool) -> None:
    job, weights = decided(make_job(quantized=asked), on_gpu=on_gpu)
    assert (job.quantized, weights.quantized, weights.note) == (asked, asked, None)


def test_a_job_that_is_begun_says_how_it_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = make_job()
    assert asked.quantized is None
    monkeypatch.setattr("workers.train.quantizing.has_bitsandbytes", lambda: True)
    assert [decided(asked, on_gpu=gpu)[0].quantized for gpu in (True, False)] == [True, False]
    monkeypatch.setattr("workers.train.quantizing.has_bitsandbytes", lambda: False)
    job, weights = decided(asked, on_gpu=True)
    assert job == asked.model_copy(update={"quantized": False})
    assert weights.note


def test_a_job_of_the_version_before_says_it_itself() -> None:
    old = json.loads(make_job(quantized=False).model_dump_json()) | {"v": 1}
    assert decided(decode(TrainJob, old), on_gpu=True)[0].quantized is False


def test_what_was_trained_in_4_bits_is_another_training_without_them(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("{}\n")
    assert digest(tmp_path, quantized=True) != digest(tmp_path, quantized=False)
    assert digest(tmp_path, quantized=True) == digest(tmp_path, quantized=True)
