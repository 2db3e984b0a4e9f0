"""Jobs of videos at addresses, as they were sent. No listing could find these videos again, so each
job is written to the bucket before it is sent: `jamak reconcile` finds there what Redis lost.

An address may be a secret: what has ended is removed by the next `reconcile`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from shared.bucket.keys import asked_folder, asked_key
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE, read
from shared.errors import JamakError, Missing
from shared.messages import CaptionJob
from shared.settings import Settings

GRACE = timedelta(minutes=1)
"""What was asked for later than that may be on its way to Redis."""


class AskedJobs:
    """Raises what ObjectStore raises."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def ask(self, job: CaptionJob) -> None:
        """Before it is sent. Again is harmless: the last address counts."""
        body = job.model_dump_json(indent=2).encode()
        self._store.put(*self._place(job), body, content_type="application/json")

    def forget(self, job: CaptionJob) -> None:
        self._store.delete(*self._place(job))

    def all(
        self, unread: Callable[[JamakError], None] = lambda error: None
    ) -> Iterator[tuple[CaptionJob, datetime]]:
        """Each, and when it was asked for.

        Args:
            unread: told why one cannot be read, which does not keep the others.
        """
        for output in self._settings.all_outputs:
            for info in self._store.list(output.bucket, asked_folder(output.prefix)):
                try:
                    yield read(self._store, CaptionJob, info.bucket, info.key), info.last_modified
                except Missing:
                    pass  # another reconcile removed it
                except UNREADABLE as error:
                    unread(error)

    def _place(self, job: CaptionJob) -> tuple[str, str]:
        bucket, prefix = self._settings.output_of(job.video.bucket, job.video.key)
        return bucket, asked_key(prefix, job)


def just_asked(at: datetime) -> bool:
    return at > datetime.now(UTC) - GRACE
