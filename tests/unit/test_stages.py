"""What a training job may ask of its stage, and what it is told when it may not."""

import inspect
import json
import re
from typing import Any

import pytest

from shared.errors import BadData
from shared.messages import decode
from shared.stages import DEFAULT_LOSSES, LOSSES, check_job, losses_of, note_on_reference
from shared.training import TrainJob
from tests.training import make_job


def test_what_is_asked_is_what_is_trained() -> None:
    assert losses_of(make_job(stage="dpo")) == {"sigmoid": 1.0, "sft": 0.5}
    mixed = make_job(stage="dpo", losses=("sigmoid", "bco_pair", "sft"))
    assert losses_of(mixed) == {"sigmoid": 1.0, "bco_pair": 1.0, "sft": 1.0}
    weighed = mixed.model_copy(update={"loss_weights": (0.8, 0.2, 1.0)})
    assert list(losses_of(weighed).values()) == [0.8, 0.2, 1.0]
    check_job(weighed)


@pytest.mark.parametrize("stage", LOSSES)
def test_each_stage_is_trained_with_each_of_its_losses(stage: Any) -> None:
    check_job(make_job(stage=stage))
    assert set(DEFAULT_LOSSES[stage]) <= set(LOSSES[stage])
    for loss in LOSSES[stage]:
        smoothed = 0.001 if loss == "exo_pair" else 0.0
        check_job(make_job(stage=stage, losses=(loss,), label_smoothing=smoothed))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"losses": ("orpo",)}, "the stage 'sft' has no loss 'orpo'$"),
        ({"losses": ("sigmoid",)}, "the stage 'sft' has no loss 'sigmoid': it belongs to dpo$"),
        ({"stage": "kto", "losses": ("nll",)}, "no loss 'nll': it belongs to align and sft$"),
        ({"stage": "dpo", "losses": ("sft", "sft")}, "a loss is named twice"),
        ({"losses": ("nll", "dft")}, "the stage 'sft' takes one loss"),
        ({"stage": "kto", "losses": ("kto",), "loss_weights": (2,)}, "without a weight"),
        ({"stage": "dpo", "loss_weights": (2,)}, "there are 0 losses and 1 weights"),
        ({"stage": "dpo", "losses": ("ipo",), "loss_weights": (1, 2)}, "1 losses and 2 weights"),
        ({"stage": "dpo", "losses": ("exo_pair",)}, "'exo_pair' is not defined without label"),
        ({"stage": "dpo", "label_smoothing": 0.1}, "none of the losses sigmoid, sft knows label"),
        ({"replay_share": 0.25}, "there are no earlier data to replay"),
        ({"replay": "s3://a/b", "start_from": "v1"}, "a share of 0 is to be replayed"),
        ({"stage": "kto", "batch_size": 1}, "compares the rows of a batch, and a batch has 1"),
    ],
)
def test_what_does_not_go_together_is_told_before_anything_is_fetched(
    asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadData, match=told) as found:
        check_job(make_job(**asked))
    assert found.value.cure
    assert found.value.cure != BadData.cure


def test_a_preference_from_nothing_is_no_fault_and_is_said() -> None:
    assert note_on_reference(make_job(stage="sft")) is None
    assert note_on_reference(make_job(stage="dpo", start_from="v1")) is None
    assert "from no adapter" in str(note_on_reference(make_job(stage="dpo")))


def test_a_job_of_the_version_before_is_trained_as_it_was() -> None:
    old = json.loads(make_job().model_dump_json())
    new = ("losses", "loss_weights", "beta", "label_smoothing", "accumulate")
    for name in (*new, "gradient_checkpointing", "replay", "replay_share"):
        del old[name]
    job = decode(TrainJob, old | {"v": 1, "start_from": "v0"})
    check_job(job)
    assert job.replay_share == 0
    assert (job.accumulate, job.gradient_checkpointing, job.losses) == (1, None, ())


def test_the_losses_are_those_of_the_trl_that_is_installed() -> None:
    pytest.importorskip("trl")
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.sft_trainer import SFTTrainer

    (told,) = re.findall(r"Should be one of \[(.*?)\]", inspect.getsource(DPOTrainer), re.S)
    assert set(re.findall(r"'(\w+)'", told)) == set(LOSSES["dpo"])
    assert set(KTOConfig.__dataclass_fields__["loss_type"].metadata["choices"]) == {*LOSSES["kto"]}
    (told,) = re.findall(r"args\.loss_type not in \((.*?)\)", inspect.getsource(SFTTrainer))
    assert set(re.findall(r'"(\w+)"', told)) == set(LOSSES["sft"]) == set(LOSSES["align"])
