"""The video that a job means, and no other: pinned to its content while it is read."""

from collections.abc import Callable
from pathlib import Path

from shared import telemetry
from shared.errors import Gone, Missing, Overwritten
from shared.messages import CaptionJob
from shared.storage import ObjectInfo, ObjectStore
from shared.videos import video_of
from workers.progress import Progress

log = telemetry.get_logger("jamak.fetch")


def fetch_video(
    store: ObjectStore,
    job: CaptionJob,
    path: Path,
    progress: Progress,
    send: Callable[[CaptionJob], None],
) -> ObjectInfo:
    """Download it. When something newer is there by now, that gets a job of its own, and this one
    goes on with its version if the bucket still has it.

    Raises:
        Gone: the video was deleted.
        Overwritten: it was, and its version is not kept.
    """

    def download(version_id: str | None = None) -> ObjectInfo:
        video = job.video
        return store.download(
            video.bucket,
            video.key,
            path,
            etag=video.etag,
            version_id=version_id,
            on_chunk=lambda: progress.tick("download"),
        )

    progress.tick("download")
    try:
        return download()
    except Missing as error:
        raise Gone(str(error)) from error
    except Overwritten:
        _send_newer(store, job, send)
        if job.video.version_id is None:
            raise
    try:
        return download(job.video.version_id)
    except Missing as error:
        raise Overwritten(f"{job.video.uri} was overwritten, its version is gone") from error


def _send_newer(store: ObjectStore, job: CaptionJob, send: Callable[[CaptionJob], None]) -> None:
    try:
        newer = video_of(store.head(job.video.bucket, job.video.key))
    except Missing:
        return  # and deleted meanwhile
    send(job.model_copy(update={"video": newer, "backlog": None}))
    log.info("overwritten: the newer version has its own job", key=newer.uri, etag=newer.etag)
