"""What the trace of a job says of it, besides how long it took."""

from shared.messages import Caption, CaptionJob
from shared.telemetry.tracing import Facts


def of_job(job: CaptionJob, card: str) -> Facts:
    return {
        "messaging.message.id": job.id,
        "jamak.video": job.video.uri,
        "jamak.class": card,
        "jamak.backlog": job.backlog.name if job.backlog else "",
    }


def of_caption(caption: Caption, record: str) -> Facts:
    return {
        "jamak.status": caption.status,
        "jamak.flags": caption.flags,
        "jamak.adapter": caption.adapter.version if caption.adapter else "",
        "jamak.frames": caption.frames.decoded,
        "jamak.fetched_bytes": caption.frames.fetched_bytes,
        "jamak.segments": len(caption.segments),
        **{f"jamak.tokens.{kind}": count for kind, count in caption.tokens.model_dump().items()},
        "jamak.record": record,
    }
