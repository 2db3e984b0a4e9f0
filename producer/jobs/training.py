"""Training jobs: put one on the train queue, see how far it is, cancel it.

The bucket says what was asked and how it ended, Redis says where a job is in between
(`shared/bucket/training.py`, `shared/broker/leased_queues.py`).
"""

import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeVar

from producer.jobs.asked import just_asked
from producer.jobs.in_flight import first_argument, in_flight, remove
from producer.jobs.send_training import send_training
from producer.jobs.served import Needs, why_unserved
from producer.jobs.training_job import State, TrainingJob
from shared.broker.apps import TRAIN_QUEUE, queues_of, reaching_redis
from shared.bucket.checkpoints import clear
from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.bucket.training import TrainingRecords
from shared.bucket.training_files import TrainingFiles
from shared.errors import (
    BrokerRefuses,
    BrokerUnavailable,
    Conflict,
    Forbidden,
    JamakError,
    Reject,
    StoreUnavailable,
    UsageError,
)
from shared.settings import Settings
from shared.training import TrainJob, TrainOutcome, TrainProgress
from shared.training_log import numbered

if TYPE_CHECKING:
    from celery import Celery

T = TypeVar("T")

VERSION: int = TrainJob.model_fields["v"].default
"""Of the messages that this process writes."""

LOOK_S, LOOKS = 1.0, 5
"""Between two looks at a job that is waited for; each so-many-th asks Redis, too."""
FOLLOW_S = 2.0
"""Between two looks at a log that is followed."""
READERS = 16
"""Jobs read at once: each is a few small objects."""


class Training:
    """The training jobs of one output and one Redis."""

    def __init__(self, settings: Settings, store: ObjectStore, app: "Celery") -> None:
        self._store, self._app, self._queues = store, app, queues_of(app)
        self._place = settings.output_bucket, settings.output_prefix
        self._records = TrainingRecords(store, *self._place)
        self._files = TrainingFiles(store, *self._place)

    def submit(self, job: TrainJob) -> None:
        """Send a job.

        Raises:
            UsageError: the data is not there.
            BrokerUnavailable, BrokerRefuses: Redis does not take it.
        """
        if not self._store.exists(*parse_uri(job.data)):
            raise UsageError(f"{job.data} does not exist", cure="See docs/training.md.")
        self._records.ask(job)
        try:
            send_training(self._app, job)
        except (BrokerUnavailable, BrokerRefuses) as error:
            # It may have arrived all the same: what has ended is not begun.
            self._end(job.id, "failed", error.reason, f"it was not sent: {error}", error.cure)
            raise

    def why_unserved(self) -> str | None:
        """Why no live worker takes what is sent; None: somebody does."""
        with reaching_redis():
            workers = self._queues.workers()
        found = why_unserved(workers, TRAIN_QUEUE, Needs(version=VERSION))
        return found.message if found else None

    def send_lost(self, *, dry_run: bool = False) -> tuple[list[str], list[JamakError]]:
        """Send again what has not ended and is not in Redis any more: which jobs these are, and
        what of others cannot be read. What was cancelled and is not there has ended.

        Args:
            dry_run: look, send nothing.

        Raises:
            BrokerUnavailable, BrokerRefuses: what Redis has is not known.
        """
        whereabouts = self._whereabouts()
        if whereabouts is None:
            raise BrokerUnavailable("which training jobs Redis has cannot be seen now")
        ids = [job_id for job_id, has_ended in self._records.ids() if not has_ended]
        lost: list[str] = []
        unread: list[JamakError] = []
        for job in (self._read(job_id, whereabouts) for job_id in ids):
            if job is None:
                continue
            unread += job.unread
            if job.state == "cancelling" and job.worker is None and job.id not in whereabouts:
                if not dry_run:  # nobody has it who could say so
                    self._end(job.id, "cancelled", "cancelled", _lost_and_cancelled(), "")
                continue
            if job.state != "not in Redis" or job.asked is None or just_asked(job.asked.asked_at):
                continue
            if not dry_run:
                send_training(self._app, job.asked.job)
            lost.append(job.id)
        return lost, unread

    def wait_for(
        self,
        job_id: str,
        on_progress: Callable[[TrainProgress], None],
        on_rest: Callable[[str], None],
    ) -> TrainOutcome:
        """Look once a second until the job has ended.

        Args:
            on_rest: told why it does not go on for now, once for each time that it does not.

        Raises:
            DamagedObject, NewerObject: how it ended cannot be read.
        """
        said: str | None = None
        for look in itertools.count():
            rests = said
            try:
                outcome = self._records.outcome(job_id)
                if outcome is not None:
                    return outcome
                with suppress(*UNREADABLE):
                    progress = self._records.progress(job_id)
                    if progress is not None:
                        on_progress(progress)
                if look % LOOKS == 0:
                    rests = self._why_it_rests(job_id)
            except StoreUnavailable as error:
                rests = str(error)  # the job may go on all the same
            if rests is not None and rests != said:
                on_rest(rests)
            said = rests
            time.sleep(LOOK_S)
        raise AssertionError("it looks until it has ended")

    def _why_it_rests(self, job_id: str) -> str | None:
        found = self._read(job_id, self._whereabouts())
        if found is not None and found.state in ("paused", "pausing"):
            return f"training job {job_id} is paused: `jamak train resume {job_id}` sends it again"
        if found is not None and found.state == "not in Redis":
            return (
                f"training job {job_id} is not in Redis any more, so it does not run: `jamak "
                "reconcile` sends it again, or cancel it"
            )
        if found is not None and found.state == "cancelling":
            return (
                f"training job {job_id} is cancelled: whoever has it ends it, or `jamak reconcile`"
            )
        return None

    def job(self, job_id: str) -> TrainingJob:
        """Raises Missing: nobody ever sent it."""
        found = self._read(job_id, self._whereabouts())
        if found is None:
            raise _unknown(job_id)
        return replace(found, files=self._files.found(job_id))

    def log(self, job_id: str, *, follow: bool = False) -> Iterator[str]:
        """Its lines so far.

        Args:
            follow: and those to come, until it has ended.

        Raises:
            Missing: nobody ever sent it.
        """
        self.job(job_id)
        seen = -1
        while True:
            # Before the log: what is written of a job is written before how it ended.
            ended = not follow or self._records.outcome(job_id) is not None
            for number, line in numbered(self._files.log(job_id)):
                if number > seen:
                    seen = number
                    yield line
            if ended:
                return
            time.sleep(FOLLOW_S)

    def jobs(self, limit: int) -> tuple[list[TrainingJob], int]:
        """All that have not ended, and so many of the others; the newest first. How many more there
        are.

        What has not ended is short: people send it, one by one.
        """
        whereabouts = self._whereabouts()
        alive = set(whereabouts or ())
        others: deque[str] = deque(maxlen=limit)
        count = 0
        for job_id, has_ended in self._records.ids():
            if has_ended:
                alive.discard(job_id)  # it ends just now
                others.append(job_id)
                count += 1
            else:
                alive.add(job_id)  # Redis has none that is paused or was lost
        ids = sorted([*alive, *others], reverse=True)
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(lambda job_id: self._read(job_id, whereabouts), ids))
        return [job for job in found if job is not None], count - len(others)

    def cancel(self, job_id: str) -> Literal["cancelled", "cancelling"]:
        """Nothing of it is published after this. `cancelling`: whoever has it ends it soon.

        Raises:
            Missing: nobody ever sent it.
            Reject: it has ended, or is being published.
            DamagedObject, NewerObject: nobody here can tell whether it has.
        """
        found = self._open(job_id)
        self._records.cancel(job_id)
        # From here on it cannot be published; what is left is to end it soon.
        if not self._taken_out(job_id):
            return "cancelling"
        ran = "while it was paused" if found.state == "paused" else "before it ran"
        self._end(job_id, "cancelled", "cancelled", f"it was cancelled {ran}", "")
        with suppress(Forbidden):  # the bucket's rule deletes them, too
            clear(self._store, *self._place, job_id)
        return "cancelled"

    def pause(self, job_id: str) -> Literal["paused", "pausing"]:
        """Nobody trains it after this before it is resumed. `pausing`: whoever has it leaves it
        soon. The bucket remembers it, so it outlives Redis.

        Raises:
            Missing: nobody ever sent it.
            Reject: it has ended, is being published, or was cancelled.
            DamagedObject, NewerObject: nobody here can tell whether it has.
        """
        self._open(job_id)
        self._records.pause(job_id)
        return "paused" if self._taken_out(job_id) else "pausing"

    def resume(self, job_id: str) -> None:
        """Send a paused job again. Of two who do it at once, one sends it.

        Raises:
            Missing: nobody ever sent it.
            Reject: it has ended, is not paused, or is being paused only now.
            BrokerUnavailable, BrokerRefuses: whether it is in Redis is not known, or Redis does
                not take it.
        """
        found = self._open(job_id)
        if found.asked is None:
            raise found.unread[0] if found.unread else _unknown(job_id)
        if found.state == "pausing":
            if self._whereabouts() is None:
                raise BrokerUnavailable("which training jobs Redis has cannot be seen now")
            raise Reject(
                f"training job {job_id} is being paused yet",
                cure="Whoever has it lets it go within seconds: ask again then.",
            )
        self._records.resume(job_id)
        # From here on it is one that Redis has lost, unless it arrives.
        send_training(self._app, found.asked.job)

    def _open(self, job_id: str) -> TrainingJob:
        """One that has not ended."""
        found = self.job(job_id)
        if found.outcome is not None:
            raise _ended(found.outcome)
        if found.state == "unreadable":
            raise found.unread[-1]
        return found

    def _taken_out(self, job_id: str) -> bool:
        """False: somebody has it, or may have it."""
        try:
            remove(self._queues, [TRAIN_QUEUE], lambda item: _job_id(item) == job_id)
        except (BrokerUnavailable, BrokerRefuses):
            return False
        whereabouts = self._whereabouts()
        return whereabouts is not None and job_id not in whereabouts

    def _end(
        self,
        job_id: str,
        status: Literal["failed", "cancelled"],
        reason: str,
        message: str,
        cure: str,
    ) -> None:
        outcome = TrainOutcome(
            job_id=job_id,
            status=status,
            reason=reason,
            message=message,
            cure=cure,
            seconds=0.0,
            created_at=datetime.now(UTC),
        )
        try:
            self._records.end(outcome)
        except Conflict:
            return  # its worker was faster

    def _whereabouts(self) -> dict[str, tuple[State, str | None]] | None:
        """Job -> where Redis has it, and who holds it; None = Redis does not answer."""
        states: dict[str, State] = {"queued": "queued", "delayed": "delayed", "leased": "running"}
        try:
            found = in_flight(self._queues, [TRAIN_QUEUE])
        except BrokerUnavailable:
            return None
        jobs = {}
        for one in found:
            job_id = _job_id(one.item)
            if job_id is not None:
                jobs[job_id] = states[one.where], one.worker
        return jobs

    def _read(
        self, job_id: str, whereabouts: dict[str, tuple[State, str | None]] | None
    ) -> TrainingJob | None:
        unread: list[JamakError] = []

        def known(read: Callable[[str], T]) -> T | None:
            try:
                return read(job_id)
            except UNREADABLE as error:
                unread.append(error)
                return None

        asked, progress = known(self._records.asked), known(self._records.progress)
        unread_before = len(unread)
        # Last: what ended meanwhile has ended.
        decision, outcome = known(self._records.decision), known(self._records.outcome)
        wanted = decision.wanted if decision else "train"
        place = (whereabouts or {}).get(job_id)
        if not (asked or progress or outcome or place or wanted == "cancel" or unread):
            return None
        state: State
        if outcome is not None:
            state = outcome.status
        elif len(unread) > unread_before:
            state = "unreadable"
        elif wanted == "cancel":
            state = "cancelling"
        elif wanted == "pause":
            state = "paused" if whereabouts is not None and place is None else "pausing"
        elif whereabouts is None:
            state = "open"
        else:
            state = place[0] if place else "not in Redis"
        worker = place[1] if place else None
        decision = decision if wanted != "train" else None
        return TrainingJob(
            job_id, state, worker, asked, progress, decision, outcome, unread=tuple(unread)
        )


def new_job_id() -> str:
    """In the order of time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def _job_id(item: bytes) -> str | None:
    found = (first_argument(item) or {}).get("id")
    return str(found) if found else None


def _lost_and_cancelled() -> str:
    return "it was cancelled, and is not in Redis any more"


def _unknown(job_id: str) -> UsageError:
    return UsageError(f"there is no training job {job_id}", cure="`jamak train list` shows them.")


def _ended(outcome: TrainOutcome) -> Reject:
    how = outcome.version if outcome.status == "published" else outcome.message
    return Reject(
        f"training job {outcome.job_id} has ended already: {outcome.status}"
        + (f": {how}" if how else ""),
        cure=f"`jamak train status {outcome.job_id}` shows all of it.",
    )
