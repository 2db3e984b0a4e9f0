"""What is told of a job when it has ended: an event of some hundred bytes that names its record.

Knows nothing of how it is told.
"""

from datetime import datetime
from typing import Literal

from shared.messages import Caption, CaptionJob, Failure, Message, digest


class ToldVideo(Message):
    uri: str
    """Of what is in no bucket its address, without what opens it."""
    etag: str
    size_bytes: int
    version_id: str | None = None


class ResultEvent(Message):
    """Told at least once: the same result has the same `id`, and no other has it."""

    v: Literal[1] = 1
    id: str
    """Of the result: follows from `record` and `created_at`."""
    status: Literal["ok", "partial", "failed"]
    record: str
    """The address of the record, or of the failure."""
    video: ToldVideo
    recipe: str
    """Its id."""
    tenant: str
    backlog: str | None = None
    """The name of the one that the job belongs to."""
    reason: str | None = None
    """Of a failure."""
    adapter: str | None = None
    """Its version."""
    created_at: datetime
    """Of the record or the failure."""


def of_caption(job: CaptionJob, caption: Caption, record: str, tenant: str) -> str:
    return _event(
        job,
        caption.status,
        record,
        tenant,
        caption.created_at,
        adapter=caption.adapter.version if caption.adapter else None,
    )


def of_failure(job: CaptionJob, failure: Failure, record: str, tenant: str) -> str:
    return _event(job, "failed", record, tenant, failure.created_at, reason=failure.reason)


def _event(
    job: CaptionJob,
    status: Literal["ok", "partial", "failed"],
    record: str,
    tenant: str,
    created_at: datetime,
    *,
    reason: str | None = None,
    adapter: str | None = None,
) -> str:
    video = ToldVideo(
        uri=job.video.uri,
        etag=job.video.etag,
        size_bytes=job.video.size_bytes,
        version_id=job.video.version_id,
    )
    return ResultEvent(
        id=digest([record, created_at.isoformat()])[:32],
        status=status,
        record=record,
        video=video,
        recipe=job.recipe.id,
        tenant=tenant,
        backlog=job.backlog.name if job.backlog else None,
        reason=reason,
        adapter=adapter,
        created_at=created_at,
    ).model_dump_json(exclude_none=True)
