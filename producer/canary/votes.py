"""Feedback on captions of a trial: a vote for or against the adapter that made them.

What feedback says of a record is not believed: the record itself says on which side of which trial
it was. Knows nothing of what a vote weighs.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from producer.canary.state import TrialState
from producer.feedback.store import FeedbackStore
from shared.bucket.keys import is_record, parse_uri
from shared.bucket.registry import base_name
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE, read
from shared.errors import Reject
from shared.messages import Arm, Caption, TrialUsed, digest
from shared.settings import Settings
from shared.trials import CLOCKS_APART

MOST = 5000
"""Of one trial. Who is not sure after so many never will be."""


class Votes:
    """Args:
    moved: called after each object that was read, for there may be many.
    """

    def __init__(
        self, store: ObjectStore, settings: Settings, moved: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self._settings, self._moved = store, settings, moved
        self._feedback = FeedbackStore(store, settings, moved)
        self._trials: dict[str, tuple[str, datetime, TrialUsed] | None] = {}
        """Address of a record -> of which base model, when it was made, and on which side of which
        trial: records do not change."""

    def of(self, base: str, state: TrialState) -> Iterator[tuple[str, Arm, bool]]:
        """The name of each that was not counted yet, for whom it is, and whether it is for it.
        What is said of a caption is one vote, by what was said first: what a second reviewer says
        of the same text is hardly another observation of who made it."""
        counted = set(state.votes)
        items = self._feedback.all(since=state.since - CLOCKS_APART)
        said = [one.said for one in items if one.said.at >= state.since]
        for one in sorted(said, key=lambda item: item.at):
            if len(counted) >= MOST:
                return
            name = digest(one.about.record)[:12]
            found = self._trial_of(one.about.record) if name not in counted else None
            if found is None:
                continue
            of_base, made_at, trial = found
            # Each base model counts its trials from 1, and so does a pointer that was deleted.
            is_older = made_at < state.since - CLOCKS_APART
            if of_base != base or is_older or trial.generation != state.generation:
                continue
            if not trial.instead:
                counted.add(name)
                yield name, trial.arm, one.liked

    def _trial_of(self, address: str) -> tuple[str, datetime, TrialUsed] | None:
        if address not in self._trials:
            self._trials[address] = self._read(address)
            self._moved()
        return self._trials[address]

    def _read(self, address: str) -> tuple[str, datetime, TrialUsed] | None:
        if not is_record(self._settings, address):
            return None
        try:
            caption = read(self._store, Caption, *parse_uri(address))
        except (Reject, *UNREADABLE):
            return None
        if caption.trial is None:
            return None
        return base_name(caption.model.weights_sha256), caption.created_at, caption.trial
