"""What the watcher of a trial knows: one object, so that it is moved as a whole.

    <prefix>adapters/<base>/trials/<generation>/state.json

How far each page of observations was read stands beside what followed from them, so whoever goes on
from here counts nothing twice and leaves nothing out.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from producer.canary.eprocess import BETS
from producer.canary.measures import Name
from shared.bucket.trials import PageRead
from shared.messages import Arm, Count, Message

MOST_STATE_BYTES = 8 << 20

Logs = Annotated[tuple[float, ...], Field(min_length=len(BETS), max_length=len(BETS))]
NOTHING: Logs = (0.0,) * len(BETS)


class Weighed(Message):
    """Of one measure: what each bettor has, as a logarithm (producer/canary/eprocess.py)."""

    compared: Count = 0
    worse: Logs = NOTHING
    fine: Logs = NOTHING


class Heap(Message):
    """Of one arm, what came since it was last compared with what came of the other one."""

    captions: Count = 0
    bad: Count = 0
    syllables: Count = 0


class Votes(Message):
    votes: Count = 0
    disliked: Count = 0


class Side(Message):
    """Of one arm, all there was: for people."""

    captions: Count = 0
    published: Count = 0
    bad: Count = 0
    """Of `captions`, those that something speaks against."""
    bad_published: Count = 0
    signals: dict[str, Count] = Field(default_factory=dict)
    syllables: Count = 0
    votes: Count = 0
    disliked: Count = 0


class Verdict(Message):
    what: Literal["worse", "not worse"]
    why: str
    at: datetime


class TrialState(Message):
    v: Count = 1
    generation: Count
    """Of the pointer when the trial began."""
    version: str
    """On trial."""
    since: datetime
    """When it began: a generation alone may come again."""
    cursor: dict[str, PageRead] = Field(default_factory=dict)
    pairs: Count = 0
    """Videos that were captioned by both."""
    sides: dict[Arm, Side] = Field(default_factory=dict)
    waiting: tuple[Heap, ...] = ()
    """Captions of the canary that no other one was compared with yet, the oldest first."""
    heap: Heap = Heap()
    """Those of the incumbent; while some of the one wait there are none of the other."""
    voted: dict[Arm, Votes] = Field(default_factory=dict)
    """What was not compared yet."""
    weighed: dict[Name, Weighed] = Field(default_factory=dict)
    votes: tuple[str, ...] = ()
    """Which were counted."""
    verdict: Verdict | None = None
    """Once there is one, nothing is weighed any more."""
    updated_at: datetime
    jamak: str

    def side(self, arm: Arm) -> Side:
        return self.sides.get(arm, Side())
