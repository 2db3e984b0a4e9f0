"""People who look at captions of some films, and say of two which is the better one.

Of each film one of them says that it is better without the habit's sentence. Knows nothing of what
becomes of it.
"""

from datetime import UTC, datetime, timedelta

from benchmarks.learning_parts import without_habit
from benchmarks.loop_stream import Sent
from infra.demo.captions import HABIT
from producer.feedback.store import FeedbackStore
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.feedback import Preference, about
from shared.messages import Caption
from shared.settings import Settings

REVIEWERS = ("kim", "lee", "park")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""Each film's preference has a time of its own, the same in each round: so all rounds learn from
the same, in the same order."""


class People:
    """Args:
    films: ids of those that somebody looks at.
    """

    def __init__(self, store: ObjectStore, settings: Settings, films: list[str]) -> None:
        self._feedback, self._records = FeedbackStore(store, settings), Records(store, settings)
        self._waiting = {film: number for number, film in enumerate(films)}
        self.said = 0

    def hear(self, sent: Sent, caption: Caption) -> None:
        """Of each film the first caption counts."""
        number = self._waiting.pop(sent.film.take.id, None)
        if number is None:
            return
        better = without_habit(caption.text)
        worse = caption.text if caption.text != better else f"{better} {HABIT}"
        self._feedback.add(
            Preference(
                about=about(caption, self._records.place_of(caption)),
                reviewer=REVIEWERS[number % len(REVIEWERS)],
                at=BEGAN + timedelta(minutes=number),
                source="benchmarks.loop",
                chosen=better,
                rejected=worse,
            )
        )
        self.said += 1
