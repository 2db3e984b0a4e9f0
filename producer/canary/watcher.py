"""Looks at every trial that is under way, and ends it once there is enough evidence.

The order is what makes it safe to kill: what was read and what follows from it are written as one
object, by compare-and-swap; a verdict among it. Only then the pointer is moved, and only if the
trial is still the one that was judged. Whoever comes next does what was left.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from producer.canary.lease import Lease
from producer.canary.state import MOST_STATE_BYTES, TrialState
from producer.canary.votes import Votes
from producer.canary.weighing import Weighing
from shared import __version__, telemetry
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE, read_with_etag
from shared.bucket.trials import TrialPages
from shared.errors import Conflict, JamakError, Missing, Reject
from shared.settings import Settings
from shared.telemetry.health import LoopHealth
from shared.telemetry.rounds import look_again_and_again
from shared.training import Pointer
from shared.trials import CLOCKS_APART

LONGEST_LOOK_S = 5.0
"""Each look holds the lease, which ends without one."""

log = telemetry.get_logger("jamak.watcher")


@dataclass(frozen=True)
class Trial:
    """As a watcher left it."""

    base: str
    """The name of its folder."""
    state: TrialState


class Watcher:
    """Args:
    wait: until the next look; True = stop.
    """

    def __init__(
        self, store: ObjectStore, settings: Settings, lease: Lease, wait: Callable[[float], bool]
    ) -> None:
        self._store, self._lease, self._wait = store, lease, wait
        self._bucket, self._prefix = settings.output_bucket, settings.output_prefix
        self._margin = settings.canary_margin
        self._look_s = min(settings.adapter_poll_s, LONGEST_LOOK_S)
        self._registry = Registry(store, self._bucket, self._prefix)
        self.health = LoopHealth()
        self._votes = Votes(store, settings, self._moved)
        self.trials: tuple[Trial, ...] = ()
        """Those under way, as they were at the last look; none while somebody else watches, or
        nobody can."""

    def run(self) -> None:
        look_again_and_again(self._look, self._look_s, self._wait, self.health, log)
        with suppress(JamakError):
            self._lease.give_back()

    def _look(self) -> None:
        try:
            self.look()
        except JamakError:
            self.trials = ()
            raise

    def look(self) -> None:
        """Once at all trials, if it is ours to. Raises what ObjectStore raises."""
        if not self._lease.hold():
            self.trials = ()
            return
        found: list[Trial] = []
        for base, pointer in self._registry.pointers().items():
            self.health.moved()
            if pointer.canary is None:
                continue
            try:
                for state in self._watch(base, pointer):
                    self.trials = (*found, Trial(base, state))
                found = [*self.trials]
            except UNREADABLE as error:  # the others are no worse for it
                log.error("cannot watch", base=base, message=str(error), cure=error.cure)
            except Conflict as error:
                log.info("somebody else was here", base=base, message=str(error))
        self.trials = tuple(found)

    def _moved(self) -> None:
        """There may be much feedback to read: it is still ours, and nobody else begins with it."""
        self.health.moved()
        self._lease.hold()

    def _watch(self, base: str, pointer: Pointer) -> Iterator[TrialState]:
        """First what workers saw, which may be enough; then what people say, which may be much."""
        pages = TrialPages(self._store, self._bucket, self._prefix, base)
        key = pages.state_key(pointer.generation)
        state, etag = self._state(key, pointer)
        for weigh in (partial(self._seen, pages), partial(self._voted, base)):
            if state.verdict is None:
                before, state = state, weigh(state)
                if state is not before:
                    etag = self._store.put(
                        self._bucket,
                        key,
                        state.model_dump_json().encode(),
                        content_type="application/json",
                        if_none_match=etag is None,
                        if_match=etag,
                    )
            yield state
        if state.verdict is not None:
            self._act(base, state)

    def _state(self, key: str, pointer: Pointer) -> tuple[TrialState, str | None]:
        """What is known of the trial. One of another trial is none: a pointer that was deleted
        counts from 1 again."""
        assert pointer.canary is not None, "only of a trial under way"
        fresh = TrialState(
            generation=pointer.generation,
            version=pointer.canary.version,
            since=pointer.canary.since,
            updated_at=datetime.now(UTC),
            jamak=__version__,
        )
        try:
            state, etag = read_with_etag(
                self._store, TrialState, self._bucket, key, most=MOST_STATE_BYTES
            )
        except Missing:
            return fresh, None
        return (state if state.since == fresh.since else fresh), etag

    def _seen(self, pages: TrialPages, before: TrialState) -> TrialState:
        """`before` itself if nothing came."""
        since = before.since - CLOCKS_APART
        news = pages.read_new(before.generation, before.cursor, since)
        for error in news.unread:
            log.error("cannot read a page", message=str(error), cure=error.cure)
        if news.cursor == before.cursor:
            return before
        weighing = Weighing(before, self._margin)
        for why in news.refused.values():
            weighing.refused(why)
        weighing.see(news.observations)
        return weighing.state(cursor=news.cursor)

    def _voted(self, base: str, before: TrialState) -> TrialState:
        """`before` itself if nobody said anything."""
        votes = list(self._votes.of(base, before))
        if not votes:
            return before
        weighing = Weighing(before, self._margin)
        for name, arm, liked in votes:
            weighing.vote(name, arm, liked)
        return weighing.state()

    def _act(self, base: str, state: TrialState) -> None:
        verdict = state.verdict
        assert verdict is not None, "only with one"
        worse = verdict.what == "worse"
        move = self._registry.end_canary if worse else self._registry.promote_canary
        try:
            move(base, by="watch", why=verdict.why, trial=state.generation)
        except (Conflict, Reject) as error:
            log.info("the trial is over", base=base, version=state.version, message=str(error))
            return
        telemetry.TRIALS.labels("rolled back" if worse else "promoted").inc()
        told = log.error if worse else log.info
        told(
            "canary rolled back" if worse else "canary promoted",
            base=base,
            version=state.version,
            why=verdict.why,
        )
