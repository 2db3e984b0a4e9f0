"""The captions that feedback is about, as they lie in the bucket now.

Feedback counts as long as the caption that was judged is there and says what it said, and its video
is the one that it was made of. What was deleted, or overwritten, teaches nothing. What feedback
says of where that caption lies is believed only of records of ours.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from producer.feedback.lessons import LeftOut, Lesson
from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE, read
from shared.errors import Missing, NoSuchBucket, Overwritten, Reject
from shared.feedback import text_digest
from shared.messages import Caption
from shared.settings import Settings

READS_AT_ONCE = 16


@dataclass(frozen=True)
class Known:
    """A lesson, and the caption that it is about."""

    lesson: Lesson
    text: str
    prompt: str


def known(
    store: ObjectStore,
    settings: Settings,
    lessons: Sequence[Lesson],
    moved: Callable[[], None] = lambda: None,
) -> tuple[list[Known], list[LeftOut]]:
    """Those whose caption and video are there, in their order; and why the others are not.

    Args:
        moved: called after each, for there may be many.
    """
    looked: list[Known | LeftOut] = []
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="judged") as pool:
        for one in pool.map(lambda one: _look(store, settings, one), lessons):
            looked.append(one)
            moved()
    there = [one for one in looked if isinstance(one, Known)]
    return there, [one for one in looked if isinstance(one, LeftOut)]


def _look(store: ObjectStore, settings: Settings, lesson: Lesson) -> Known | LeftOut:
    about = lesson.about
    if not about.video.in_bucket:
        return LeftOut(lesson.id, "its video is in no bucket, and no training could fetch it")
    if not _is_record(settings, about.record):
        return LeftOut(lesson.id, "what it names is no record in an output of this Jamak")
    try:
        caption = read(store, Caption, *parse_uri(about.record))
    except Missing:
        return LeftOut(lesson.id, "its caption is not there any more")
    except UNREADABLE:
        return LeftOut(lesson.id, "its caption cannot be read")
    if (caption.video, text_digest(caption.text)) != (about.video, about.text_sha256):
        return LeftOut(lesson.id, "its caption is not the one that was judged")
    try:
        store.head(about.video.bucket, about.video.key, etag=about.video.etag)
    except (Missing, Overwritten, NoSuchBucket):
        return LeftOut(lesson.id, "its video was deleted or overwritten")
    except Reject:
        return LeftOut(lesson.id, "its video cannot be read")
    return Known(lesson, caption.text, caption.recipe.prompt)


def _is_record(settings: Settings, address: str) -> bool:
    return any(
        address.startswith(f"s3://{output.bucket}/{output.prefix}records/")
        for output in settings.all_outputs
    )
