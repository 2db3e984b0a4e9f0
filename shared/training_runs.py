"""Values of a training that outlives its workers: who may write, and from where it goes on.

As the other messages (`shared/messages.py`): frozen, versioned, JSON, and read by `decode`.
"""

from datetime import datetime

from shared.messages import Count, Message

STATE_FILE, TENSORS_FILE = "state.json", "state.safetensors"
"""Of a checkpoint. Nothing else is written, and none of it is a pickle."""


class Checkpoint(Message):
    """The state of a training after a step, whole in the bucket."""

    step: Count
    epoch: Count
    """Of the run that wrote it."""
    data_sha256: str
    """Of the rows that it was trained on."""
    files: dict[str, str]
    """name -> sha256"""


class TrainRun(Message):
    """Which run of a training job may write. Moved by compare-and-swap, together with the list of
    what is whole: so a run that was overtaken can add nothing to it."""

    v: Count = 1
    epoch: Count
    """One more each time that a worker begins the job."""
    worker: str
    at: datetime
    checkpoints: tuple[Checkpoint, ...] = ()
    """The newest last."""


class Before(Message):
    """The held-out videos before the training, which are not looked at again."""

    captions: tuple[str, ...]
    """What the model said of those that have a reference."""
    likely: tuple[tuple[tuple[float, Count], ...], ...]
    """Of each row, its texts: log-probability, tokens."""


class Looked(Message):
    """What was found of the clips before the first step: whoever goes on looks at none but those
    of its next batch."""

    clips_sha256: str
    """Which they were, and what they were looked at for."""
    frames: tuple[Count, ...]
    """Of each clip, in their order; 0: it cannot be read."""
    unreadable: dict[str, tuple[str, str]]
    """Key of such a clip -> why, and the cure."""


class TrainState(Message):
    """What a checkpoint holds besides its tensors."""

    v: Count = 2
    step: Count
    base_sha256: str
    """Of the weights that it was trained on."""
    rows_sha256: str = ""
    """Of the rows that it was trained on, and of those that were held out. Empty: it is not said,
    by a Jamak that left none out."""
    looked: Looked | None = None
    """None: it is not said, by a Jamak that looked at all of them again."""
    before: Before
    losses: tuple[float, ...]
    rates: tuple[float, ...]
    """Learning rates, of each group of parameters."""
    schedule: dict[str, int | float | bool | tuple[float, ...]]
    """Of the learning rate."""
    scaler: dict[str, float] | None = None
    """Of the loss, on a card without bf16."""
