"""Failure records: find them, read them, and send their jobs again."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from producer.backlog.lines import Lines
from producer.backlog.manifest import Backlog
from producer.jobs.send import queue_of, send_as_room_allows
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.keys import failure_key
from shared.bucket.records import Records
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.bucket.stored import read as read_stored
from shared.errors import DamagedObject, JamakError, Missing, NewerObject, Reject, UsageError
from shared.messages import CaptionJob, Failure
from shared.settings import Output, Settings

READS_AT_ONCE = 16


@dataclass(frozen=True)
class Wanted:
    """Which failures. What is None does not matter."""

    bucket: str | None = None
    prefix: str = ""
    """Of the video's key."""
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    recipe: str | None = None

    def fits(self, failure: Failure) -> bool:
        video = failure.video
        return (
            (self.bucket is None or video.bucket == self.bucket)
            and video.key.startswith(self.prefix)
            and (self.reason is None or failure.reason == self.reason)
            and (self.recipe is None or failure.recipe_id == self.recipe)
        )


def find_failures(
    store: ObjectStore,
    settings: Settings,
    wanted: Wanted,
    unread: Callable[[JamakError], None] = lambda error: None,
) -> Iterator[Failure]:
    """In the order of their keys, without those that have a caption by now.

    Args:
        unread: told why one cannot be read, and so nobody knows whether it is wanted.
    """
    records = Records(store, settings)

    def read(info: ObjectInfo) -> Failure | None:
        try:
            failure = read_stored(store, Failure, info.bucket, info.key)
        except Missing:
            return None  # sent again meanwhile
        except UNREADABLE as error:
            unread(error)
            return None
        if not wanted.fits(failure) or _has_caption(records, failure):
            return None
        return failure

    listed = _listed(store, settings, wanted)
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="failures") as pool:
        while some := list(islice(listed, READS_AT_ONCE * 8)):
            yield from (failure for failure in pool.map(read, some) if failure)


def _listed(store: ObjectStore, settings: Settings, wanted: Wanted) -> Iterator[ObjectInfo]:
    for folder in _folders(store, settings, wanted):
        # Keys that were too long for S3 lie under `~/`, whatever they begin with.
        for start in (wanted.prefix, "~/") if wanted.prefix else ("",):
            for info in store.list(folder.bucket, folder.prefix + start):
                if wanted.since and info.last_modified < wanted.since:
                    continue
                if wanted.until and info.last_modified >= wanted.until:
                    continue
                yield info


def _folders(store: ObjectStore, settings: Settings, wanted: Wanted) -> Iterator[Output]:
    """`failures/<bucket>/<recipe>/` of each output."""
    for bucket, prefix in settings.all_outputs:
        top = f"{prefix}failures/"
        for source in [wanted.bucket] if wanted.bucket else list(store.folders(bucket, top)):
            recipes = [wanted.recipe] if wanted.recipe else store.folders(bucket, f"{top}{source}/")
            for recipe in recipes:
                yield Output(bucket, f"{top}{source}/{recipe}/")


def _has_caption(records: Records, failure: Failure) -> bool:
    job = job_of(failure)
    if failure.reason != DamagedObject.reason:
        return records.exists(job)
    try:
        return records.find(job) is not None
    except DamagedObject:
        return False
    except NewerObject:
        return True


def job_of(failure: Failure) -> CaptionJob:
    return CaptionJob(
        video=failure.video, recipe=failure.recipe, card=failure.least, backlog=failure.backlog
    )


def redrive(
    store: ObjectStore,
    settings: Settings,
    queues: LeasedQueues,
    failures: list[Failure],
    room: Callable[[str], int],
) -> None:
    """Send their jobs again, to the class that they were for, behind what was uploaded lately.

    First the failure goes: whatever happens then, `jamak reconcile` finds the job missing.
    """
    lines = Lines(store, settings)
    jobs = [lines.own(job_of(failure)) for failure in failures]
    # Counted before: a budget may wait for what was never sent, but pays for no more than it has.
    for name, count in Counter(job.backlog.name for job in jobs if job.backlog).items():
        with suppress(UsageError, Reject, NewerObject):
            Backlog(store, settings, name).send_again(count)
    for failure, job in zip(failures, jobs, strict=True):
        bucket, prefix = settings.output_of(job.video.bucket, job.video.key)
        store.delete(bucket, failure_key(prefix, job))
        send_as_room_allows(queues, queue_of(failure.least, bulk=True), [job], room)
