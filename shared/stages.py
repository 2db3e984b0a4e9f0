"""The stages of training: which losses each has, and what a job may ask of them together.

A loss has the name that TRL gives it; a test compares the names with the TRL that is installed.
Knows neither TRL nor torch, so a wrong job is told where it is asked for, before anything is
fetched.
"""

from collections.abc import Mapping

from shared.errors import BadData
from shared.rows import Stage
from shared.training import TrainJob

LOSSES: Mapping[Stage, tuple[str, ...]] = {
    "align": ("nll", "dft"),
    "sft": ("nll", "dft"),
    "dpo": (
        *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard"),
        *("aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
    ),
    "kto": ("kto", "apo_zero_unpaired"),
}
DEFAULT_LOSSES: Mapping[Stage, Mapping[str, float]] = {
    "align": {"nll": 1.0},
    "sft": {"nll": 1.0},
    # The preference alone may push both captions down and leave a model that says nothing
    # sensible; the likelihood of the chosen one holds it.
    "dpo": {"sigmoid": 1.0, "sft": 0.5},
    "kto": {"kto": 1.0},
}
SMOOTHED = frozenset({"exo_pair", "robust", "aot", "aot_unpaired"})
"""The losses that the share of wrong labels is a parameter of."""
PREFERENCES = frozenset[Stage]({"dpo", "kto"})
"""They move away from a reference: the model as it was when the training began."""


def losses_of(job: TrainJob) -> dict[str, float]:
    """Name -> weight, in the order of the job. The job is one that `check_job` lets through."""
    if not job.losses:
        return dict(DEFAULT_LOSSES[job.stage])
    return dict(zip(job.losses, job.loss_weights or [1.0] * len(job.losses), strict=True))


def check_job(job: TrainJob) -> None:
    """Raises BadData: what the job asks for does not go together; with the cure."""
    _check_names(job)
    losses = losses_of(job)
    if smoothed := SMOOTHED & losses.keys():
        if "exo_pair" in smoothed and job.label_smoothing == 0:
            raise BadData(
                "the loss 'exo_pair' is not defined without label smoothing",
                cure="Set the label smoothing to 0.001, as its authors do.",
            )
    elif job.label_smoothing:
        raise BadData(
            f"none of the losses {', '.join(losses)} knows label smoothing",
            cure=f"Leave it at 0, or choose one of {', '.join(sorted(SMOOTHED))}.",
        )
    if "kto" in losses and job.batch_size < 2:
        raise BadData(
            "the loss 'kto' compares the rows of a batch, and a batch has 1",
            cure="Set the batch size to 2 or more, or choose the loss apo_zero_unpaired.",
        )
    if job.stage == "align" and job.quantized:
        raise BadData(
            "the stage 'align' is not trained on 4-bit weights",
            cure="Leave --quantized out, and train the stages after it so.",
        )
    _check_replay(job)


def note_on_reference(job: TrainJob) -> str | None:
    """What whoever asked for the job should know, though it is no fault."""
    if job.stage in PREFERENCES and job.start_from is None:
        return (
            f"the stage {job.stage!r} goes on from no adapter here: its reference is the base model"
        )
    return None


def _check_names(job: TrainJob) -> None:
    known = LOSSES[job.stage]
    for name in job.losses:
        if name in known:
            continue
        others = [stage for stage, names in LOSSES.items() if name in names]
        raise BadData(
            f"the stage {job.stage!r} has no loss {name!r}"
            + (f": it belongs to {' and '.join(others)}" if others else ""),
            cure=f"It has {', '.join(known)}.",
        )
    if len(set(job.losses)) < len(job.losses):
        raise BadData("a loss is named twice", cure="Name it once, with a larger weight.")
    if job.stage != "dpo" and (len(job.losses) > 1 or job.loss_weights):
        raise BadData(
            f"the stage {job.stage!r} takes one loss, without a weight",
            cure="Only the losses of the stage dpo are added up.",
        )
    if job.loss_weights and len(job.loss_weights) != len(job.losses):
        raise BadData(
            f"there are {len(job.losses)} losses and {len(job.loss_weights)} weights",
            cure="Give each loss its weight, in the same order.",
        )


def _check_replay(job: TrainJob) -> None:
    if job.replay_share and job.replay is None and job.start_from is None:
        raise BadData(
            "there are no earlier data to replay: the job names none, and no adapter to go on from",
            cure="Name the manifest of the earlier data, or set the share to 0.",
        )
    if job.replay is not None and not job.replay_share:
        raise BadData(
            f"of the earlier data {job.replay} a share of 0 is to be replayed",
            cure="Say which share of the rows is to come from it, as 0.25.",
        )
