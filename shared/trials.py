"""A canary's trial: whose turn a job is, and what is seen of the captions of both.

Knows nothing of the bucket (shared/bucket/trials.py), nor of how the two are compared.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from shared.messages import Arm, Count, Message, digest
from shared.training import Canary

MOST_ON_A_PAGE = 1000
CLOCKS_APART = timedelta(minutes=5)
"""At most, of two machines: what was made so much before a trial began was made in it."""
_DIGITS = 13
"""Hexadecimal ones: what a float holds exactly."""

Signal = Literal["empty", "truncated", "repetitive", "wrong_language", "garbled", "retried"]
"""What speaks against a caption: a flag of it, or that there was none at the first try (of a pair:
of whose turn it was)."""


class Observation(Message):
    """What is seen of one caption. It is written by who wrote the record of the video."""

    at: datetime
    arm: Arm
    """Whose turn it was; a caption that the canary owed is its own, whoever made it good."""
    pair: str | None = None
    """The same of both captions of one video; None: only one was made."""
    pairable: bool = False
    """Both are made of such jobs, if it is their turn. Of the rest nothing follows: those of the
    canary without a pair are not of the same kind as those of the other one."""
    record: str
    """The start of the digest of the record's address."""
    bad: tuple[Signal, ...] = ()
    """Empty: nothing speaks against it."""
    syllables: Count
    """Of the text: letters of Hangul."""
    published: bool
    """It is what the record says."""


class TrialPage(Message):
    """What one worker saw of a trial. Written again as it grows, by that worker alone."""

    v: Count = 1
    generation: Count
    worker: str
    number: Count
    """From 0: a page that is full is left as it is, and another one begun."""
    written_at: datetime
    refused: str = ""
    """Why this worker has no canary to try, which is the canary's fault: it ends the trial."""
    apart: str = ""
    """Why it tries none though nothing is known to be wrong with the canary: other workers may do.
    With either, its captions are no part of the trial."""
    observations: Annotated[tuple[Observation, ...], Field(max_length=MOST_ON_A_PAGE)] = ()
    """In the order in which they were made."""
    jamak: str


def arm_of(job_id: str, generation: int, canary: Canary) -> Arm:
    """Whose turn a job is: of the same job in the same trial always the same, whoever asks."""
    return "canary" if _place(job_id, generation) < canary.share else "incumbent"


def is_paired(job_id: str, generation: int, canary: Canary) -> bool:
    """Whether both are to caption it; of these jobs half are the canary's."""
    return canary.paired and _place(job_id, generation) < 2 * canary.share


def _place(job_id: str, generation: int) -> float:
    """From 0 to 1, evenly."""
    drawn = int(digest([job_id, generation])[:_DIGITS], 16)
    return drawn / float(16**_DIGITS)
