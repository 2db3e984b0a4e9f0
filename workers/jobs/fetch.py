"""The video that a job means, and no other: every read of it is pinned to its content."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from shared import telemetry
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.videos import video_of
from shared.errors import EmptyFile, Gone, Missing, Overwritten
from shared.messages import CaptionJob
from shared.web.addresses import Addresses
from shared.web.connections import HangUp
from shared.web.ranged import changed
from workers.jobs.agreement import check_size, in_the_past
from workers.progress import Progress
from workers.video.source import Source

T = TypeVar("T")

log = telemetry.get_logger("jamak.fetch")


@dataclass(frozen=True)
class Places:
    """Where videos are."""

    store: ObjectStore
    addresses: Addresses

    def object_source(self, info: ObjectInfo, version_id: str | None = None) -> Source:
        """Pinned: who overwrites the object meanwhile does not get into it."""

        def fetch(start: int, end: int) -> bytes:
            return self.store.get_range(
                info.bucket, info.key, start, end, etag=info.etag, version_id=version_id
            )

        return Source(video_of(info).uri, info.size_bytes, fetch)

    def address_source(self, address: str, info: ObjectInfo) -> Source:
        hang_up = HangUp()

        def fetch(start: int, end: int) -> bytes:
            with hang_up.covered():
                return self.addresses.get_range(address, start, end, info.etag)

        return Source(video_of(info).uri, info.size_bytes, fetch, hang_up.now)


def read_video(
    places: Places,
    job: CaptionJob,
    progress: Progress,
    send: Callable[[CaptionJob], None],
    use: Callable[[Source, ObjectInfo], T],
) -> T:
    """What `use` makes of it. When the bucket has something newer by now, that gets a job of its
    own, and this one begins anew with its version, if the bucket still has it. What is at an
    address gets none: a server that gives it a new ETag each time would have one without end.

    Raises:
        EmptyFile.
        BadMessage: the content that the job names has another size.
        Gone: the video was deleted.
        Overwritten: it was, and its version is not kept.
    """
    progress.tick("download")
    try:
        return use(*_open(places, job, None))
    except Overwritten:
        if job.address is not None:
            raise
        _send_newer(places, job, send)
        if job.video.version_id is None:
            raise
    try:
        return use(*_open(places, job, job.video.version_id))
    except Gone as error:
        raise Overwritten(f"{job.video.uri} was overwritten, its version is gone") from error


def _open(places: Places, job: CaptionJob, version_id: str | None) -> tuple[Source, ObjectInfo]:
    """Raises Gone, now and at each fetch; BadMessage, Overwritten, Forbidden, NoRanges."""
    video = job.video
    with _own_absence(job):
        if job.address is None:
            info = places.store.head(
                video.bucket, video.key, etag=video.etag, version_id=version_id
            )
            check_size(job, info)
            if info.size_bytes == 0:
                raise EmptyFile(f"{video.uri} has 0 bytes", size_bytes=0)
            source = places.object_source(info, version_id)
        else:
            info = places.addresses.head(job.address, etag=video.etag)
            if info.size_bytes != video.size_bytes:
                raise changed(video.uri)
            source = places.address_source(job.address, info)

    def fetch(start: int, end: int) -> bytes:
        with _own_absence(job):
            return source.fetch(start, end)

    return replace(source, fetch=fetch), in_the_past(info)


@contextmanager
def _own_absence(job: CaptionJob) -> Iterator[None]:
    """Only the video's own is `Gone`: what `use` misses, an output bucket say, is not."""
    try:
        yield
    except Missing as error:
        raise Gone(str(error), cure=error.cure if job.address else None) from error


def _send_newer(places: Places, job: CaptionJob, send: Callable[[CaptionJob], None]) -> None:
    try:
        newer = video_of(places.store.head(job.video.bucket, job.video.key))
    except Missing:
        return  # and deleted meanwhile
    send(job.model_copy(update={"video": newer, "backlog": None}))
    log.info("overwritten: the newer version has its own job", key=newer.uri, etag=newer.etag)
