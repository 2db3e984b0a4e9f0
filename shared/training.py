"""Values of training: the job on Redis, what becomes of it in S3, and the adapters that come of it.

As the other messages (`shared/messages.py`): frozen, versioned, JSON, and read by `decode`.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from shared.messages import Count, Message, ModelIdentity
from shared.rows import Stage


class TrainJob(Message):
    """What is asked of a training, whole: it is recorded with the adapter that comes of it.

    What may be asked together is said in shared/stages.py.
    """

    v: Count = 2
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Unique per request: the same data may be trained twice. A part of keys in the bucket."""
    stage: Stage = "sft"
    """`align`: the projector alone. `sft`: reference captions. `dpo`: of two captions the better
    one. `kto`: captions with a thumb up or down. The first and the last since version 2."""
    data: str
    """`s3://bucket/manifest.jsonl`."""
    model: str
    revision: str
    prompt: str
    """Of rows that name none."""
    start_from: str | None = None
    """Adapter version to go on from; None = a fresh one on the base model."""
    quantized: bool | None = None
    """QLoRA: the language model in 4-bit NF4 while training. None, since version 2: as the trainer
    decides (workers/train/quantizing.py); what is recorded with an adapter says how it was."""
    frames: Annotated[Count, Field(ge=1)] = 4
    steps: Annotated[Count, Field(ge=1)] = 100
    batch_size: Annotated[Count, Field(ge=1)] = 8
    """Rows that one process computes at once."""
    accumulate: Annotated[Count, Field(ge=1)] = 1
    """Batches of a process in one step: as one larger batch, in the memory of one."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    rank: Annotated[Count, Field(ge=1)] = 16
    group_by_length: bool = False
    """Rows of like length in one batch: less is padded, and the order is less mixed. Since 2."""
    save_every: Annotated[Count, Field(ge=1)] = 50
    """Steps between two checkpoints. Since version 2."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    replay: str | None = None
    """`s3://bucket/manifest.jsonl` of earlier data; None = those of the adapter to go on from."""
    replay_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of what is computed, that it is to be earlier data. Since version 2, as all down to
    `gradient_checkpointing`."""
    losses: tuple[str, ...] = ()
    """Names of TRL, added up; none = those of the stage (shared/stages.py)."""
    loss_weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Of each loss; none = 1."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """dpo, kto: how much it costs to move away from the reference."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """dpo: the share of pairs that are labelled the wrong way round."""
    processes: Annotated[Count, Field(ge=1)] = 1
    """Of one machine, each with a GPU of its own; since version 2."""
    gradient_checkpointing: bool | None = None
    """Compute activations twice instead of keeping them; None = on a GPU."""
    skip_unfit: bool = False
    """Leave out new rows that cannot be learned, and say how many; otherwise one is an error."""
    activate: bool = True
    """Move the pointer if the held-out captions got better (workers/train/gate.py)."""


class TrainAsked(Message):
    """A training job as it was sent to the queue."""

    v: Count = 1
    job: TrainJob
    asked_at: datetime


class TrainDecision(Message):
    """Who has the last word about a training job. Moved by compare-and-swap, so that a job is
    either cancelled or published, and never both."""

    v: Count = 2
    wanted: Literal["train", "publish", "cancel", "pause"]
    """`publish`: it can no longer be cancelled. `cancel`: nothing of it is published any more.
    `pause`: it rests until somebody resumes it. Since version 2; all else is written as 1."""
    at: datetime


class TrainProgress(Message):
    """How far a running training job is; written over and over."""

    v: Count = 2
    job_id: str
    worker: str
    attempt: Count
    since: datetime
    """When this worker began it."""
    stage: str
    step: Count = 0
    steps: Count = 0
    """Of the stage; 0 = it does not count."""
    loss: float | None = None
    tokens_per_s: float | None = None
    """Of the last steps, visual ones too. Since version 2, as what follows."""
    seconds_left: float | None = None
    """At the pace of the last steps, with the captions afterwards; None: nobody knows yet."""
    after_s: float = 0.0
    """That the captions afterwards take, as far as anybody knows."""
    spent_s: float = 0.0
    """Of workers, all tries together."""
    usd: float | None = None
    """What these seconds cost; None: nobody has said what such a card does."""
    updated_at: datetime


class TrainOutcome(Message):
    """How a training job ended: `training/<job id>.json` under the output prefix."""

    v: Count = 3
    job_id: str
    status: Literal["published", "failed", "cancelled"]
    """`cancelled` since version 2."""
    version: str | None = None
    activated: bool = False
    why_not_activated: str | None = None
    """Of a version that was published and not put to use. Since version 2."""
    notes: tuple[str, ...] = ()
    """What whoever asked for it should know, though it is no fault. Since version 3."""
    metrics: dict[str, float] = Field(default_factory=dict)
    reason: str | None = None
    message: str | None = None
    cure: str | None = None
    seconds: float
    """Of workers, all tries together."""
    created_at: datetime


class Replayed(Message):
    """The earlier data that a training took part of, against forgetting."""

    data: str
    data_sha256: str
    rows: Count


class AdapterManifest(Message):
    """What an adapter version is. Its files are trusted only if their digests match."""

    v: Count = 2
    version: str
    """Content hash of `files` and `base`."""
    stage: Stage
    base: ModelIdentity
    files: dict[str, str]
    """name -> sha256"""
    parent: str | None
    data: str
    data_sha256: str
    metrics: dict[str, float]
    replayed: Annotated[
        tuple[Replayed, ...],
        BeforeValidator(lambda told: [told] if isinstance(told, dict) else told or ()),
    ] = ()
    """Since version 2; of one set, it was written without a list before."""
    notes: tuple[str, ...] = ()
    """What was not as one would expect of such a job. Since version 2."""
    train_job: TrainJob
    libraries: dict[str, str]
    created_at: datetime


By = Literal["operator", "watch", "gate"]
"""Who began, promoted or ended a canary: a person, the watcher of its trial, or the gate."""


class Canary(Message):
    """A version on trial: it captions a share of the videos, and is compared with the one in use.

    The trial is known by the pointer's generation, which each beginning, promotion and end raises.
    """

    version: str
    share: Annotated[float, Field(gt=0, le=0.5)]
    """Of the jobs, whose captions are by it."""
    paired: bool
    """Of twice that share, so half by each, the other adapter's caption is made, too, and compared
    and thrown away."""
    since: datetime


class Stop(Message):
    """One move of the pointer."""

    generation: Count
    version: str | None
    """In use from then on; None = the base model without an adapter."""
    at: datetime
    how: Literal["activated", "rolled back", "canary begun", "canary promoted", "canary ended"]
    """Those of canaries since version 3 of the pointer, as all that follows `before`."""
    before: Count | None
    """The generation of the stop that a rollback goes back to; None = there is none, 0 = the base
    model, before anything was ever activated."""
    canary: str | None = None
    """The version whose trial began or ended with this move, also where it ended because something
    else was activated or rolled back."""
    share: float | None = None
    """Of a canary that began."""
    why: str = ""
    by: By | None = None


class Pointer(Message):
    """Which adapter version a base model's workers use. Moved by compare-and-swap."""

    v: Count = 3
    generation: Count
    version: str | None
    """None = the base model without an adapter."""
    previous: str | None = None
    """Of version 1, which has no history: what was in use before, or what was left."""
    updated_at: datetime
    history: tuple[Stop, ...] = ()
    """The last ones, the newest last. Since version 2."""
    canary: Canary | None = None
    """On trial beside it. Since version 3."""

    def as_written(self) -> "Pointer":
        """Of version 2 as long as no canary is or was: older workers follow that as well."""
        is_older = self.v == 3 and not self.canary and not any(one.canary for one in self.history)
        return self.model_copy(update={"v": 2}) if is_older else self

    def to_json(self) -> bytes:
        """As it lies in the bucket."""
        without: dict[str, Any] = {"history": {"__all__": _OF_CANARIES}, "canary": True}
        told = self.model_dump_json(indent=2, exclude=without if self.v == 2 else None)
        return told.encode()


_OF_CANARIES = {"canary", "share", "why", "by"}
"""What version 2 of the pointer does not know of a stop."""
