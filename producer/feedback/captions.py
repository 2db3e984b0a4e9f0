"""The captions that feedback is about, as they lie in the bucket now.

Feedback counts as long as the caption that was judged is there and says what it said, and its video
is the one that it was made of. What was deleted, or overwritten, teaches nothing, and is no voice.
What feedback says of where that caption lies is believed only of records of ours.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from producer.feedback.lessons import LeftOut, Lesson
from producer.feedback.store import Item
from shared.bucket.keys import is_record, parse_uri
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.errors import Missing, NewerObject, NoSuchBucket, Overwritten, Reject
from shared.feedback import Judged, text_digest
from shared.messages import Caption
from shared.settings import Settings

READS_AT_ONCE = 16
GONE_AGAIN = timedelta(days=1)
"""What is gone may come back: it is looked for so often."""


@dataclass(frozen=True)
class Text:
    """What the caption of an item says, and what it was asked for with."""

    text: str
    prompt: str


@dataclass(frozen=True)
class Known:
    """A lesson, and the caption that it is about."""

    lesson: Lesson
    text: str
    prompt: str


@dataclass(frozen=True)
class Lacking:
    why: str
    gone: bool = True
    """False: it cannot be read, which somebody may mend at any time."""


class JudgedCaptions:
    """For one process, which may look again and again: what was gone counts as gone for a day.

    Args:
        moved: called after each caption that was looked at, for there may be many.
    """

    def __init__(
        self,
        store: ObjectStore,
        settings: Settings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._settings, self._now, self._moved = store, settings, now, moved
        self._gone: dict[Judged, tuple[datetime, str]] = {}

    def may_count(self, items: Iterable[Item]) -> tuple[list[Item], list[LeftOut]]:
        """Those against which nothing is known without a request; and why the others do not."""
        now = self._now()
        self._gone = {
            about: found for about, found in self._gone.items() if now - found[0] < GONE_AGAIN
        }
        may, left_out = [], []
        for item in items:
            about = item.said.about
            if not about.video.in_bucket:
                why = LeftOut(item.id, "its video is in no bucket, and no training could fetch it")
                left_out.append(why)
            elif not is_record(self._settings, about.record):
                why = LeftOut(item.id, "what it names is no record in an output of this Jamak")
                left_out.append(why)
            elif about in self._gone:
                left_out.append(LeftOut(item.id, self._gone[about][1]))
            else:
                may.append(item)
        return may, left_out

    def texts(self, items: Sequence[Item]) -> tuple[dict[str, Text], list[LeftOut]]:
        """Of those items whose caption and video are there, by the item's id; and why the others
        do not count.

        Raises:
            StoreUnavailable, ConfigError: of no caption alone.
        """
        found: dict[Judged, Text | Lacking] = {}
        abouts = list({item.said.about: None for item in items})
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="judged") as pool:
            for about, one in zip(abouts, pool.map(self._look, abouts), strict=True):
                found[about] = one
                if isinstance(one, Lacking) and one.gone:
                    self._gone[about] = self._now(), one.why
                self._moved()
        texts: dict[str, Text] = {}
        left_out = []
        for item in items:
            one = found[item.said.about]
            if isinstance(one, Text):
                texts[item.id] = one
            else:
                left_out.append(LeftOut(item.id, one.why))
        return texts, left_out

    def _look(self, about: Judged) -> Text | Lacking:
        try:
            caption = read(self._store, Caption, *parse_uri(about.record))
        except Missing:
            return Lacking("its caption is not there any more")
        except (Reject, NewerObject):
            return Lacking("its caption cannot be read", gone=False)
        if (caption.video, text_digest(caption.text)) != (about.video, about.text_sha256):
            return Lacking("its caption is not the one that was judged")
        try:
            self._store.head(about.video.bucket, about.video.key, etag=about.video.etag)
        except (Missing, Overwritten, NoSuchBucket):
            return Lacking("its video was deleted or overwritten")
        except Reject:
            return Lacking("its video cannot be read", gone=False)
        return Text(caption.text, caption.recipe.prompt)
