"""`jamak get`: captions as they are, for pipes and files."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from producer.bucket.captions import NoCaption, caption_in, newest, views_under
from producer.verbs.console import err, out
from shared.bucket.formats import to_text
from shared.bucket.keys import place_of
from shared.bucket.records import VIEWS
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.errors import (
    ConfigError,
    JamakError,
    NewerObject,
    NoSuchBucket,
    Reject,
    Unfinished,
    UsageError,
)
from shared.language import spoken
from shared.messages import Caption, Failure
from shared.settings import Settings, load_settings
from shared.shown import visible

Format = Literal["txt", "vtt", "srt", "json"]

READS_AT_ONCE = 32

RENDER: dict[Format, Callable[[Caption], bytes]] = {
    "txt": to_text,
    "vtt": VIEWS[".vtt"][1],
    "srt": VIEWS[".srt"][1],
    "json": VIEWS[".json"][1],
}


def get(
    uris: Annotated[
        list[str],
        typer.Argument(help="s3://bucket/key of a video; several, or a s3://bucket/prefix/"),
    ],
    form: Annotated[Format, typer.Option("--format", help="txt is what is said alone.")] = "txt",
    to: Annotated[
        Path | None,
        typer.Option("--out", help="A file; of several videos or a prefix, a folder."),
    ] = None,
) -> None:
    """The caption of a video, and nothing else: to standard output, or into files.

    Of several videos, or of a prefix, each lies in the folder as it does in its bucket:
    FOLDER/bucket/key.vtt. What has no caption is told, and the others are written all the same.
    """
    settings, store = load_settings(), ObjectStore()
    if len(uris) == 1 and not is_prefix(uris[0]):
        caption = caption_at(store, settings, uris[0])
        body = RENDER[form](caption)
        if to is None:
            sys.stdout.flush()
            if sys.stdout.isatty():  # what is captioned was said by a model, of somebody's video
                body = visible(body.decode()).encode()
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()
        elif to.is_dir():
            written(to / f"{harmless(caption.video.key.rpartition('/')[2])}.{form}", body)
        else:
            written(to, body)
        return
    if to is None:
        raise UsageError(
            "--out: several captions would run into each other on standard output",
            cure="Name a folder for them: --out FOLDER.",
        )
    told = Mirror(store, settings, form, to)
    for uri in uris:
        told.take(uri)
    out.print(spoken(f"{told.files:,} captions in {escape(str(to))}"), highlight=False)
    if told.refused:
        raise Unfinished(f"{told.refused} captions could not be had")


def is_prefix(uri: str) -> bool:
    bucket, key = place_of(uri, "URIS")
    return ":" not in bucket and (not key or key.endswith("/"))


def caption_at(store: ObjectStore, settings: Settings, uri: str) -> Caption:
    """Raises NoCaption: it has none, and why."""
    found = newest(store, settings, *place_of(uri, "URIS"))
    if isinstance(found, Failure):
        raise NoCaption(f"{uri} failed: {found.reason}: {found.message}", cure=found.cure)
    return found


def written(path: Path, body: bytes) -> None:
    """Raises CannotWrite."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    except OSError as error:
        raise CannotWrite(
            f"{path} cannot be written: {error.strerror}", cure="Name another place with --out."
        ) from error


class CannotWrite(JamakError):
    reason = "cannot_write"


@dataclass
class Mirror:
    """Many captions into a folder. One that cannot be had does not keep the others."""

    store: ObjectStore
    settings: Settings
    form: Format
    folder: Path
    files: int = 0
    refused: int = 0

    def take(self, uri: str) -> None:
        """A video, or all that have a caption under a prefix.

        Raises:
            ConfigError: none can be had before that is put right.
        """
        try:
            if not is_prefix(uri):
                self._write(caption_at(self.store, self.settings, uri))
                return
            before = self.files + self.refused
            for caption in self._under(*place_of(uri)):
                self._try(caption)
            if self.files + self.refused == before:
                raise NoCaption(
                    f"there is no caption under {uri}",
                    cure="Check the prefix, or look how it goes: `jamak status`.",
                )
        except JamakError as error:
            of_this_one = isinstance(error, UsageError) or (
                isinstance(error, NoSuchBucket) and error.bucket == place_of(uri)[0]
            )
            if isinstance(error, ConfigError) and not of_this_one:
                raise
            self._refuse(error)

    def _under(self, bucket: str, prefix: str) -> Iterator[Caption]:
        views = views_under(self.store, self.settings, bucket, prefix)
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="get") as pool:
            while some := list(islice(views, READS_AT_ONCE * 8)):
                for view, found in zip(some, pool.map(self._read, some), strict=True):
                    if isinstance(found, JamakError):
                        self._refuse(found, escape(f"s3://{view.bucket}/{view.key}: "))
                    elif found:
                        yield found

    def _read(self, view: ObjectInfo) -> Caption | Reject | NewerObject | None:
        """Of one that cannot be read, why: it does not keep the others."""
        try:
            return caption_in(self.store, view)
        except (Reject, NewerObject) as error:
            return error

    def _try(self, caption: Caption) -> None:
        try:
            self._write(caption)
        except CannotWrite as error:
            self._refuse(error)

    def _write(self, caption: Caption) -> None:
        video = caption.video
        path = self.folder.joinpath(*map(harmless, (video.bucket, *video.key.split("/"))))
        written(path.with_name(f"{path.name}.{self.form}"), RENDER[self.form](caption))
        self.files += 1

    def _refuse(self, error: JamakError, where: str = "") -> None:
        self.refused += 1
        message, cure = where + escape(spoken(str(error))), escape(spoken(error.cure))
        err.print(f"[red]{message}[/red]\n  {cure}", soft_wrap=True)


def harmless(name: str) -> str:
    """A part of a key as the name of a file: nobody's key leads out of the folder."""
    if name in ("", ".", ".."):
        return name.replace(".", "%2E") or "%2F"
    return name.replace("\0", "%00")
