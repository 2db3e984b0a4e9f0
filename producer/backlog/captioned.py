"""Videos whose caption is of a kind, as a source of a backlog: `jamak recaption` makes those.

    captions where adapter!=active and recipe=3f2a91c07d44 under s3://bucket/prefix

A video's caption is what its view shows. Views are read as they are listed, some at a time, so
that it does not matter how many there are. What `active` means is asked anew whenever a source is
opened.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from producer.backlog.where import NO_ADAPTER, Where, fits, parse, shown
from producer.jobs.listed import present
from shared.bucket.keys import parse_uri
from shared.bucket.records import read_view
from shared.bucket.registry import Registry, base_name
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.errors import Forbidden, JamakError, Missing, NoSuchBucket, UsageError
from shared.messages import Caption, Video
from shared.settings import Settings

READS_AT_ONCE = 32
MANY = 16
"""Videos of one bucket that are listed; of fewer it is cheaper to ask for each."""
TEXT = re.compile(r"captions where (\S+(?: and \S+)*)(?: under (s3://.*))?", re.DOTALL)
BEGINNING = "captions where "

VANISHED, REPLACED, NO_BUCKET = "vanished", "replaced", "in_no_bucket"


@dataclass(frozen=True)
class Kind:
    """Captions that are meant."""

    where: Where
    under: str = ""
    """`s3://bucket/prefix` of the videos; empty: all there are."""

    @property
    def source(self) -> str:
        return f"{BEGINNING}{shown(self.where)}{f' under {self.under}' if self.under else ''}"

    @classmethod
    def of(cls, text: str) -> "Kind":
        """Raises UsageError: it is no such source, or names what a newer Jamak knows."""
        found = TEXT.fullmatch(text)
        if found is None:
            raise UsageError(
                f"SOURCE: {text!r} names no captions", cure="`jamak recaption` writes such sources."
            )
        return cls(parse(found[1]), found[2] or "")


@dataclass(frozen=True)
class Seen:
    """A caption that was looked at."""

    position: str
    caption: Caption | None = None
    """None: it is not meant, or cannot be read."""
    lacks: str = ""
    """Why it cannot be made again, in a word."""
    unread: JamakError | None = None


class Captioned:
    """The position is that of a view: which listing it was in, and its key."""

    def __init__(self, kind: Kind, store: ObjectStore, settings: Settings) -> None:
        self._where, self._store, self._settings = kind.where, store, settings
        self._bucket, self._prefix = parse_uri(kind.under, "WHAT") if kind.under else ("", "")
        registry = Registry(store, settings.output_bucket, settings.output_prefix)

        @cache
        def active(base: str) -> Collection[str]:
            # What cannot be read ends it: else all captions would seem to be of another adapter.
            pointer = registry.pointer(base)
            tried = [pointer.canary.version] if pointer.canary else []
            return {pointer.version or NO_ADAPTER, *tried}

        self._active = lambda sha256: active(base_name(sha256))

    def seen(self, after: str = "") -> Iterator[Seen]:
        """All that are looked at, in an order that is kept."""
        views = self._views(after)
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="captions") as pool:
            while some := list(islice(views, READS_AT_ONCE * 8)):
                looked = list(pool.map(self._look, *zip(*some, strict=True)))
                meant = [one.caption.video for one in looked if one.caption]
                lacking = self._lacking(pool, meant)
                for one in looked:
                    why = lacking.get(one.caption.video) if one.caption else None
                    yield replace(one, lacks=why) if why else one

    def _look(self, position: str, view: ObjectInfo) -> Seen:
        try:
            caption = read_view(self._store, view.bucket, view.key)
        except Missing:
            return Seen(position)
        except UNREADABLE as error:
            return Seen(position, unread=error)
        video = caption.video
        under = not self._bucket or (
            video.bucket == self._bucket and video.key.startswith(self._prefix)
        )
        if not under or not fits(self._where, caption, self._active):
            return Seen(position)
        return Seen(position, caption)

    def _lacking(self, pool: Executor, videos: Sequence[Video]) -> dict[Video, str]:
        """Those that cannot be captioned again, and why."""
        # An address may be a secret, and is not kept.
        found = {video: NO_BUCKET for video in videos if not video.in_bucket}
        buckets: dict[str, list[Video]] = {}
        for video in videos:
            if video.in_bucket:
                buckets.setdefault(video.bucket, []).append(video)
        for bucket, some in buckets.items():
            if len(some) >= MANY and self._store.lists_in_order(bucket, ""):
                etags = self._listed(bucket, [video.key for video in some])
            else:
                etags = dict(
                    zip((video.key for video in some), pool.map(self._etag, some), strict=True)
                )
            for video in some:
                etag = etags.get(video.key, VANISHED)
                if etag != video.etag:
                    found[video] = etag if etag in (VANISHED, Forbidden.reason) else REPLACED
        return found

    def _listed(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        """ETags, or why there are none."""
        etags: dict[str, str] = {}
        try:
            present(self._store, bucket, "", keys, etags)
        except NoSuchBucket:
            return {}
        except Forbidden as error:
            return dict.fromkeys(keys, error.reason)
        return etags

    def _etag(self, video: Video) -> str:
        """Or why there is none."""
        try:
            return self._store.head(video.bucket, video.key).etag
        except (Missing, NoSuchBucket):
            return VANISHED
        except Forbidden as error:
            return error.reason

    def _views(self, after: str) -> Iterator[tuple[str, ObjectInfo]]:
        number, _, key = after.partition(" ")
        first = int(number or 0)
        for at, (bucket, prefix, but) in enumerate(self._listings()):
            if at < first:
                continue
            for info in self._store.list(bucket, prefix, key if at == first else ""):
                if info.key.endswith(".json") and not (but and info.key.startswith(but)):
                    yield f"{at} {info.key}", info

    def _listings(self) -> Iterator[tuple[str, str, str]]:
        """Bucket, prefix, and what of it was listed before."""
        for output in self._settings.all_outputs:
            top = f"{output.prefix}captions/"
            if not self._bucket:
                yield output.bucket, top, ""
                continue
            folder = f"{top}{self._bucket}/"
            yield output.bucket, folder + self._prefix, ""
            if self._prefix:  # keys that were too long for S3 lie here, whatever they begin with
                yield output.bucket, f"{folder}~/", folder + self._prefix
