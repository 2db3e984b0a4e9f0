"""`jamak enqueue`: one video at once, or all under a prefix by way of a backlog."""

from dataclasses import dataclass, field

from producer.backlog import backlogs
from producer.backlog.manifest import Backlog, new_name
from producer.backlog.scan import create
from producer.jobs.asked import AskedJobs
from producer.jobs.send import queue_of, send
from shared.broker.apps import reaching_redis
from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.keys import parse_uri
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.bucket.videos import video_of
from shared.errors import Missing, UsageError
from shared.messages import CaptionJob, Recipe
from shared.settings import CardName, Settings
from shared.web.addresses import Addresses


@dataclass
class Enqueued:
    enqueued: int = 0
    already: int = 0
    """Have their record: nothing to do."""
    failed: int = 0
    """Failed before, and are left alone."""
    skipped: int = 0
    """Keys that are no videos."""
    queues: list[str] = field(default_factory=list)
    backlogs: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Address -> why it could not be looked at."""

    def __iadd__(self, other: "Enqueued") -> "Enqueued":
        self.enqueued += other.enqueued
        self.already += other.already
        self.failed += other.failed
        self.skipped += other.skipped
        self.queues += [queue for queue in other.queues if queue not in self.queues]
        self.backlogs += other.backlogs
        return self


class Enqueuer:
    """`dry_run`: count, change nothing."""

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        queues: LeasedQueues,
        recipe: Recipe,
        card: CardName,
        dry_run: bool,
    ) -> None:
        self._settings, self._store, self._queues = settings, store, queues
        self._recipe, self._card, self._dry_run = recipe, card, dry_run

    def take(self, uri: str) -> Enqueued | Backlog:
        """One video is enqueued then; a prefix has become a backlog that is to be scanned.

        Raises:
            UsageError: nothing is there.
            Forbidden: it cannot be read.
        """
        if not uri.startswith("s3://") and "://" in uri:
            return self._at(uri)
        bucket, key = parse_uri(uri, "URIS")
        if key and not key.endswith("/"):
            try:
                return self._one(bucket, key)
            except Missing:
                pass  # then it is a prefix
        if not self._store.list_page(bucket, key)[0]:
            raise UsageError(f"nothing is at {uri}", cure="Check the bucket and the key.")
        if self._dry_run:
            return self._count(uri)
        name = new_name("enqueue")
        return create(self._store, self._settings, name, uri, self._recipe, self._card)

    def scanned(self, backlog: Backlog) -> Enqueued:
        """What a scan found, before anything of it is fed."""
        manifest, _ = backlog.manifest()
        with reaching_redis():
            counts = BacklogProgress(self._queues, backlog.name).counts()
        return Enqueued(
            enqueued=manifest.lines - counts.ended,
            already=counts.done,
            failed=counts.ended - counts.done,
            skipped=sum(manifest.skipped.values()),
            queues=[queue_of(self._card, bulk=True)],
            backlogs=[backlog.name],
        )

    def _one(self, bucket: str, key: str) -> Enqueued:
        video = video_of(self._store.head(bucket, key))
        return self._send(CaptionJob(video=video, recipe=self._recipe, card=self._card))

    def _at(self, address: str) -> Enqueued:
        video = video_of(Addresses(self._settings.addresses).head(address))
        return self._send(
            CaptionJob(video=video, recipe=self._recipe, card=self._card, address=address)
        )

    def _send(self, job: CaptionJob) -> Enqueued:
        queue = queue_of(self._card, bulk=False)
        told = Enqueued(queues=[queue])
        if Records(self._store, self._settings).exists(job):
            told.already = 1
            return told
        if not self._dry_run:
            if job.address is not None:
                AskedJobs(self._store, self._settings).ask(job)
            send(self._queues, queue, [job])
        told.enqueued = 1
        return told

    def _count(self, uri: str) -> Enqueued:
        told = backlogs.plan(
            self._store, self._settings, self._queues, uri, self._recipe, self._card
        )
        return Enqueued(
            enqueued=told.left,
            already=told.captioned,
            failed=sum(told.failed.values()),
            skipped=sum(told.skipped.values()),
            queues=[told.queue],
        )
