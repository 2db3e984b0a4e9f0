"""An object that is a video, as jobs name it."""

from shared.bucket.storage import ObjectInfo
from shared.messages import Video


def video_of(info: ObjectInfo) -> Video:
    return Video(
        bucket=info.bucket,
        key=info.key,
        etag=info.etag,
        size_bytes=info.size_bytes,
        version_id=info.version_id,
    )
