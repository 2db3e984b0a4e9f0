"""What a worker writes of its time: one page for each day, which only it writes.

    <output>costs/<day>/<worker>.json      the day is that of UTC on which the page began

The parts of a page are as long as the worker lived, so what is summed over pages is what was paid
for. Knows nothing of how a worker measures them.
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.bucket.storage import ObjectStore
from shared.messages import Count, Message
from shared.settings import Output

TRAINER = "train"
"""The class of a worker that trains."""
Seconds = Annotated[float, Field(ge=0)]

How = Literal[
    "captions",  # a record was written
    "parts",  # segments of a long video are kept; others went on with it
    "training",  # an adapter was published
    "duplicates",  # somebody else had written it
    "failures",  # it cannot succeed, and its failure says why
    "retries",  # it is to be tried again
    "handed_back",  # for another worker, or because this one ended
    "lost",  # its lease was
    "in_hand",  # when the page was written last
]
"""What became of the jobs that a second was spent on."""
WASTE: tuple[How, ...] = ("duplicates", "failures", "retries", "handed_back", "lost")
"""Nothing came of it."""


class Spent(Message):
    """Seconds of one worker that went to jobs alike."""

    tenant: str
    adapter: str = ""
    """Its version; empty: the base model, or none was used."""
    backlog: str = ""
    how: How
    jobs: Count
    seconds: Seconds


class Ledger(Message):
    """One page."""

    v: Count = 1
    worker: str
    card: str
    """Its class, or `train`."""
    began_at: datetime
    written_at: datetime
    every_s: Seconds
    """After so long it is written again. Who was killed spent so much more at the most."""
    closed: Literal["", "ended", "midnight"] = ""
    """`ended`: the worker said goodbye; `midnight`: its next page goes on from here."""
    usd_per_hour: Seconds | None = None
    """None: nobody said."""
    price: str = ""
    """Where that is from."""
    alive_s: Seconds
    cold_start_s: Seconds
    """Of these until it took work."""
    idle_s: Seconds
    """With nothing in hand."""
    spent: tuple[Spent, ...] = ()
    jamak: str

    @property
    def accounted_s(self) -> float:
        """The sum of the parts."""
        return self.cold_start_s + self.idle_s + sum(one.seconds for one in self.spent)

    def usd(self, seconds: float) -> float:
        """What so many of its seconds cost; 0 where nobody has said what they do."""
        return seconds / 3600 * (self.usd_per_hour or 0.0)


def ledger_key(prefix: str, day: date, worker: str) -> str:
    return f"{_folder(prefix)}{day.isoformat()}/{worker}.json"


def ledger_days(store: ObjectStore, output: Output, since: date) -> Iterator[str]:
    """The folders of the pages that began on that day or later."""
    root = _folder(output.prefix)
    for day in store.folders(output.bucket, root):
        if day >= since.isoformat():
            yield f"{root}{day}/"


def _folder(prefix: str) -> str:
    return f"{prefix}costs/"
