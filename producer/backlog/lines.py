"""Whether the line that a job names is its own still.

A backlog may be deleted, and its name used again: then the line is another video's, which would
count as ended, and never be captioned. Knows nothing of why the job is sent again.
"""

from functools import cache, lru_cache

from producer.backlog.manifest import SHARD_LINES, Backlog, Manifest
from shared.bucket.storage import ObjectStore
from shared.errors import NewerObject, Reject, UsageError
from shared.messages import CaptionJob, Video
from shared.settings import Settings

KEPT_SHARDS = 8
"""In memory: 10 MB each."""


class Lines:
    """As they are when they are asked for first."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        @cache
        def manifest(name: str) -> Manifest:
            return Backlog(store, settings, name).manifest()[0]

        @lru_cache(maxsize=KEPT_SHARDS)
        def shard(name: str, number: int) -> list[Video]:
            return Backlog(store, settings, name).shard(manifest(name).shard_name(number))

        self._manifest, self._shard = manifest, shard

    def own(self, job: CaptionJob) -> CaptionJob:
        """The job; without its line if that is another's, or nobody can tell: then `jamak
        reconcile` counts how it ends."""
        return job if self._is_own(job) else job.model_copy(update={"backlog": None})

    def _is_own(self, job: CaptionJob) -> bool:
        if job.backlog is None:
            return True
        name, (number, at) = job.backlog.name, divmod(job.backlog.line, SHARD_LINES)
        try:
            manifest = self._manifest(name)
            if job.backlog.line >= manifest.lines or manifest.recipe != job.recipe:
                return False
            return self._shard(name, number)[at].content == job.video.content
        except (UsageError, Reject, NewerObject):
            return False
