"""Whether a training keeps the language model in 4 bits (QLoRA): decided here and nowhere else,
when a job is begun, before its memory is planned.

The job that is then planned, trained and recorded with its adapter says how. Knows no torch.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from shared.rows import Stage
from shared.training import TrainJob


@dataclass(frozen=True)
class Weights:
    """Of the language model, while an adapter is trained."""

    quantized: bool
    """In NF4; else as they are, in 16 bits on a GPU and in 32 on a CPU."""
    why: str
    note: str | None = None
    """For whoever asked for the job, though it is no fault."""


def has_bitsandbytes() -> bool:
    return find_spec("bitsandbytes") is not None


def usual_weights(stage: Stage, *, on_gpu: bool, bitsandbytes: bool = True) -> Weights:
    """Where a job does not say."""
    if stage == "align":
        return Weights(False, "the projector learns to speak to the language model as it is")
    if not on_gpu:
        return Weights(False, "there is no GPU")
    if not bitsandbytes:
        return Weights(False, "bitsandbytes is not installed", note_no_4_bits())
    return Weights(True, "there is a GPU")


def decided(job: TrainJob, *, on_gpu: bool) -> tuple[TrainJob, Weights]:
    """The job as it will be trained here, `quantized` being true or false."""
    if job.quantized is None:
        found = usual_weights(job.stage, on_gpu=on_gpu, bitsandbytes=has_bitsandbytes())
    else:
        found = Weights(job.quantized, "the job says so")
    return job.model_copy(update={"quantized": found.quantized}), found


def note_no_4_bits() -> str:
    return (
        "it was trained on a GPU, and not on 4-bit weights (QLoRA): bitsandbytes is not installed"
    )
