"""What is known of a training job, as people are shown it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.errors import JamakError
from shared.training import TrainAsked, TrainDecision, TrainOutcome, TrainProgress

State = Literal[
    "queued",
    "delayed",  # waits for another try
    "running",
    "cancelling",  # a worker has it, and will stop
    "pausing",  # as well
    "paused",  # nobody trains it before it is resumed; Redis knows nothing of it
    "not in Redis",  # Redis lost it: it does not run before `jamak reconcile` sends it again
    "unreadable",  # something of it in the bucket is damaged, or from a newer Jamak
    "open",  # Redis does not answer: queued, or running
    "published",
    "failed",
    "cancelled",
]


@dataclass(frozen=True)
class TrainingJob:
    """All that is known of one."""

    id: str
    state: State
    worker: str | None
    """That holds it."""
    asked: TrainAsked | None
    """None: an older Jamak sent it."""
    progress: TrainProgress | None
    """Of its last try, also when it has ended since."""
    decision: TrainDecision | None
    """None: nobody wants anything but that it is trained; or it cannot be read."""
    outcome: TrainOutcome | None
    files: Mapping[str, str] = field(default_factory=dict)
    """What people read of it, and where: log.txt, report.json, plot.png. Of one job alone."""
    unread: tuple[JamakError, ...] = ()
    """Why something of it cannot be read; it is None here."""

    @property
    def runs(self) -> bool:
        """A worker has it, unless Redis does not answer."""
        return self.state in ("running", "cancelling", "pausing")

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        parts = {
            "asked": self.asked,
            "progress": self.progress,
            "decision": self.decision,
            "outcome": self.outcome,
        }
        return {
            "job_id": self.id,
            "state": self.state,
            "worker": self.worker,
            "unreadable": [{"message": str(one), "cure": one.cure} for one in self.unread],
            "files": dict(self.files),
            **{name: part and part.model_dump(mode="json") for name, part in parts.items()},
        }
