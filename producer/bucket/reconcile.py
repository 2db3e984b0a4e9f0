"""What is missing is found from the bucket alone, shard by shard, and enqueued again.

Missing is what has neither record nor failure and is not in flight. The queues are looked at before
the bucket: a job that ends in between has its record by then.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from producer.backlog.feeder import Feed
from producer.backlog.manifest import SHARD_LINES
from producer.jobs.asked import AskedJobs, just_asked
from producer.jobs.examine import Examined, examine
from producer.jobs.in_flight import JobName, job_names, name_of
from producer.jobs.send import queue_of, send_as_room_allows
from shared.broker.apps import reaching_redis
from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.errors import NewerObject, Reject
from shared.messages import BacklogLine, CaptionJob, Recipe, Video
from shared.settings import CardName, Settings

Room = Callable[[str], int]


@dataclass
class Reconciled:
    videos: int = 0
    done: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    missing: int = 0
    """Neither of these."""
    enqueued: int = 0
    """Of the missing ones; none of a backlog that is paused or cancelled."""
    rendered: int = 0
    """Videos whose views were missing, or showed another content."""
    unread: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""

    def add(self, found: Examined, videos: int) -> None:
        self.videos += videos
        self.done += len(found.done)
        for reason, some in found.failed.items():
            self.failed[reason] = self.failed.get(reason, 0) + len(some)


class Reconciler:
    """Args:
    room: how many messages a queue takes now.
    on_videos: called with how many videos were looked at.
    """

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        queues: LeasedQueues,
        room: Room,
        on_videos: Callable[[int], None] = lambda count: None,
        *,
        dry_run: bool = False,
    ) -> None:
        self._settings, self._store, self._queues = settings, store, queues
        self._room, self._on_videos, self._dry_run = room, on_videos, dry_run
        self._records = Records(store, settings)
        self.told = Reconciled()

    def backlog(self, feed: Feed) -> Reconciled:
        """What was fed of it; what was not is the feeder's."""
        progress = BacklogProgress(self._queues, feed.name)
        # As far as anybody knows that it was fed: Redis may have forgotten, or run ahead.
        fed = max(feed.cursor.fed, feed.fed)
        for number in range((fed + SHARD_LINES - 1) // SHARD_LINES):
            start = number * SHARD_LINES
            videos = feed.backlog.shard(feed.manifest.shard_name(number))
            end = start + len(videos)
            with reaching_redis():
                known = progress.ended(start, end)
            in_flight = job_names(self._queues)
            found = self._examined(videos, feed.manifest.recipe)
            outcomes = found.outcomes(start)
            if not self._dry_run:
                gone = known & {start + i for i in found.missing}
                with reaching_redis():
                    progress.merge(start, end, outcomes, gone)
            jobs = (
                CaptionJob(
                    video=videos[i],
                    recipe=feed.manifest.recipe,
                    card=feed.manifest.card,
                    backlog=BacklogLine(name=feed.name, line=start + i),
                )
                for i in found.missing
                if start + i < fed
            )
            self._send(feed.queue, jobs, in_flight, feed.running)
            self._on_videos(len(videos))
        return self.told

    def videos(
        self, videos: Iterable[Video], recipe: Recipe, card: CardName, queue: str
    ) -> Reconciled:
        """Any videos, in their order."""
        for some in _shards(videos):
            in_flight = job_names(self._queues)
            found = self._examined(some, recipe)
            jobs = (CaptionJob(video=some[i], recipe=recipe, card=card) for i in found.missing)
            self._send(queue, jobs, in_flight)
            self._on_videos(len(some))
        return self.told

    def asked(self, jobs: AskedJobs) -> Reconciled:
        """What was asked for address by address. What has ended is forgotten."""
        groups: dict[tuple[Recipe, CardName], list[tuple[CaptionJob, datetime]]] = defaultdict(list)
        for job, at in jobs.all(lambda error: self.told.unread.append(str(error))):
            groups[job.recipe, job.card].append((job, at))
        for (recipe, card), some in groups.items():
            in_flight = job_names(self._queues) | {
                name_of(job) for job, at in some if just_asked(at)
            }
            found = self._examined([job.video for job, _ in some], recipe)
            missing = set(found.missing)
            for i, (job, _) in enumerate(some):
                if i not in missing and not self._dry_run:
                    jobs.forget(job)
            self._send(queue_of(card, bulk=False), [some[i][0] for i in found.missing], in_flight)
            self._on_videos(len(some))
        return self.told

    def _examined(self, videos: Sequence[Video], recipe: Recipe) -> Examined:
        found = examine(self._store, self._settings, recipe, videos, views=True)
        self.told.add(found, len(videos))
        for i in found.unrendered:
            self._render(CaptionJob(video=videos[i], recipe=recipe))
        return found

    def _render(self, job: CaptionJob) -> None:
        if self._dry_run:
            self.told.rendered += 1
            return
        try:
            caption = self._records.find(job)
            if caption and self._records.render(caption):
                self.told.rendered += 1
        except (Reject, NewerObject) as error:
            self.told.unread.append(f"{job.video.uri}: {error}")

    def _send(
        self, queue: str, jobs: Iterable[CaptionJob], in_flight: set[JobName], wanted: bool = True
    ) -> None:
        waiting = []
        for job in jobs:
            if name_of(job) in in_flight:
                self.told.in_flight += 1
            else:
                waiting.append(job)
        self.told.missing += len(waiting)
        if wanted and not self._dry_run:
            self.told.enqueued += len(waiting)
            send_as_room_allows(self._queues, queue, waiting, self._room)


def _shards(videos: Iterable[Video]) -> Iterator[list[Video]]:
    rest = iter(videos)
    while some := list(islice(rest, SHARD_LINES)):
        yield some
