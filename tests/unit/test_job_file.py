"""A training job in a file: as by options, or an error that names the file and the cure."""

import json
from pathlib import Path

import pytest

from producer.jobs.job_file import read_job
from shared.errors import UsageError
from shared.prompts import BASE_PROMPT
from shared.settings import Settings
from shared.training import TrainJob
from shared.training_defaults import STAGES

SETTINGS = Settings()
A = "0123456789ab"


def _read(text: str) -> TrainJob:
    return read_job(text.encode(), "job.yaml", SETTINGS, "new")


def test_what_is_left_out_is_the_stages_own() -> None:
    job = _read(f"stage: dpo\ndata: s3://b/pairs.jsonl\nfrom: {A}\nsteps: 20\n")
    usual = STAGES["dpo"]
    assert (job.id, job.stage, job.start_from, job.steps) == ("new", "dpo", A, 20)
    assert (job.learning_rate, job.replay_share) == (usual.learning_rate, usual.replay_share)
    assert (job.model, job.prompt) == (SETTINGS.model, BASE_PROMPT)
    assert _read("stage: sft\ndata: s3://b/m.jsonl").replay_share == 0


def test_a_job_that_was_recorded_is_sent_again_as_another_one() -> None:
    recorded = TrainJob(
        id="old",
        stage="kto",
        data="s3://b/m.jsonl",
        model="other/model",
        revision="r",
        prompt=f"{BASE_PROMPT} 짧게.",
        start_from=A,
        quantized=True,
        losses=("kto",),
        replay_share=0.5,
        learning_rate=2e-5,  # YAML takes what JSON writes of it for a text
        seed=7,
    )
    assert _read(recorded.model_dump_json()) == recorded.model_copy(update={"id": "new"})
    assert read_job(json.dumps({**recorded.model_dump(), "seed": 8}).encode(), "f", SETTINGS, "n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- stage: sft", "job.yaml holds no names with values"),
        ("stage: [", "job.yaml is no YAML"),
        ("data: s3://b/m.jsonl", "job.yaml: stage is none of align, sft, dpo, kto"),
        ("stage: [sft]\ndata: s3://b/m", "job.yaml: stage is none of align, sft, dpo, kto"),
        ("stage: rlhf\ndata: s3://b/m", "job.yaml: stage is none of align, sft, dpo, kto"),
        ("stage: sft\ndata: s3://b/m\nstep: 3", "job.yaml: step: nobody knows this word; did you"),
        ("stage: sft", "job.yaml: data: Field required"),
        ("stage: sft\ndata: m.jsonl", "'m.jsonl' is not an S3 address"),
        ("stage: sft\ndata: s3://b/m\nsteps: 0", "job.yaml: steps: Input should be greater"),
        ("stage: kto\ndata: s3://b/m\nbatch_size: 1", "and a batch has 1"),
    ],
)
def test_what_is_no_job_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _read(text)
    assert said in str(caught.value)
    assert caught.value.cure


def test_the_file_of_the_docs_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (text,) = [part.split("```")[0] for part in page.split("```yaml\n")[1:] if "stage:" in part]
    assert _read(text).stage == "dpo"
