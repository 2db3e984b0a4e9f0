"""A message is a claim: what it says about its video must agree with the video.

Whoever may enqueue may name a video, and may not say what it is like: the address, the size and the
content are compared with what the store or the server says, and dates are theirs. What disagrees is
no job, so that nothing is written under a name that was made up.
"""

from dataclasses import replace
from datetime import UTC, datetime

from shared.bucket.keys import place_of
from shared.bucket.records import CLOCKS_DIFFER
from shared.bucket.storage import ObjectInfo
from shared.errors import BadMessage, UsageError
from shared.messages import CaptionJob


def check_address(job: CaptionJob) -> None:
    """A record and a view are filed under the video, and the address is what is read.

    Raises:
        BadMessage: they are not the same place.
    """
    video = job.video
    if job.address is None:
        if not video.in_bucket:
            raise BadMessage(f"{video.uri} is in no bucket, and the message has no address of it")
        return
    try:
        place = place_of(job.address)
    except UsageError as error:
        raise BadMessage(f"the address of {video.uri} is none") from error
    if video.in_bucket or place != (video.bucket, video.key):
        raise BadMessage(f"the message's address is not that of its video, {video.uri}")


def check_size(job: CaptionJob, found: ObjectInfo) -> None:
    """Of the same content. Raises BadMessage: there is no such version of the video."""
    if found.size_bytes != job.video.size_bytes:
        raise BadMessage(
            f"{job.video.uri} has {found.size_bytes} bytes, and not the "
            f"{job.video.size_bytes} that the message says of the same content"
        )


def in_the_past(found: ObjectInfo) -> ObjectInfo:
    """With a date that can be one: a video of the future would be the newest for ever."""
    now = datetime.now(UTC)
    if found.last_modified > now + CLOCKS_DIFFER:
        return replace(found, last_modified=now)
    return found
