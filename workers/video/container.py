"""An opened video: the container, the film among its tracks, and a way back to its beginning.

Only these demuxers are let at a file; FFmpeg's others include playlists and lists of files, which
would read whatever their text names.
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import SEEK_END
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.codec.context import Flags
from av.stream import Discard

from shared.errors import TooLarge
from workers.video import encryption, sample_table
from workers.video.clock import Clock
from workers.video.colour import Tags
from workers.video.formats import (
    CODEC_BYTES,
    HEAD_BYTES,
    INDEXED,
    READ,
    STILLS,
    head_of,
    named,
    why_cut,
    why_encrypted,
    why_no_pictures,
    why_no_still,
    why_still,
    why_undecodable,
    why_unreadable,
)
from workers.video.geometry import Geometry
from workers.video.orientation import Orientation
from workers.video.told_size import BEGINNING
from workers.video.tracks import Candidate, Track, candidates, why

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    "matroska,webm",
    "mpegts",
    "mpeg",
    "avi",
    "flv",
    "ogg",
    "gif",
    "h264",
    "hevc",
    "vvc",
    "m4v",
    "mpegvideo",
    "obu",
    "ivf",
    "dv",
    "apng",
    "flic",
    "yuv4mpegpipe",
    "asf",
    "mxf",
)
STILL_DEMUXERS = ("jpeg_pipe", "png_pipe", "webp_pipe", "bmp_pipe")
"""Of pictures that stand alone. FFmpeg's `image2` would look for more files beside the one."""
MP4, MATROSKA = b"ftyp", bytes.fromhex("1a45dfa3")
"""How such files begin; an MP4 with a size before it."""
TS_SYNC = b"\x47"
"""How each packet of a transport stream begins; those of camcorders have a time of 4 bytes before
it."""
AT_ONCE = {"skip_frame": "all", "analyzeduration": "1", "fpsprobesize": "0"}
"""No picture is decoded, and next to nothing read, to look into the file: a first picture is a
large one. Microseconds; frames."""
WITHOUT_A_DECODER = {**AT_ONCE, "codec_whitelist": "none"}
"""For decoders that do not heed the first of these."""
PARSED = {"skip_frame": "all"}
"""For transport streams. What FFmpeg's parsers tell of H.264 and HEVC is enough, but for how far
H.264 reorders its pictures, which FFmpeg would guess from the first few."""
SORTED = {"h264": {"strict": "1"}, "hevc": {}}
"""Such codecs, and what makes their decoders not guess: where H.264 does not say how far pictures
are reordered, that it may be as far as its level allows. (libavcodec/h264_ps.c)"""
IN_ORDER = frozenset({"vp8", "vp9", "libdav1d", "av1"})
"""Codecs whose pictures come in the order in which they are shown."""
OPEN_S = 5
"""FFmpeg may read for so long, each time; a local file never does."""
ANY_NUMBER = 2**31 - 1
THEORA = "theora"
VP8_HEADER = b"OVP80"
"""In Ogg, of a packet that is no picture."""
PATIENCE = 64
"""Packets of a track, where there are several, until it shows that it can be decoded."""


class VideoFile:
    """Args:
    source: a path, or a seekable binary file object.
    name: how messages call it.
    head: reads its first bytes, for what is no video.
    max_pixels: no larger picture is decoded, neither to look into the file nor later.
    max_decoded: nor more frames than this, from one `count_anew` to the next.
    still: it is to be a picture that stands alone, and nothing else.

    Raises:
        NotAVideo, NoVideoStream, Truncated.
    """

    container: Any
    stream: Any
    beginning: bytes
    """The first few bytes, for what FFmpeg does not tell of them."""
    track: Track
    geometry: Geometry
    decoded: int
    """Frames, since they were last counted anew."""
    clock: Clock | None = None
    """None: every frame says when it is shown."""
    places: Mapping[int, int] = {}
    """Of keyframes by their times, in containers that are sought by bytes."""
    tags: Tags
    """What the container says of the colours, before anything is decoded."""

    def __init__(
        self,
        source: Any,
        name: str,
        head: Callable[[int], bytes],
        max_pixels: int = ANY_NUMBER,
        max_decoded: int = ANY_NUMBER,
        *,
        still: bool = False,
    ) -> None:
        self._source, self.name, self._head = source, name, head
        self._still = still
        self.orientation = Orientation()
        self._max_pixels, self._max_decoded = max_pixels, max_decoded
        self._before: int | None = None
        """The time of the last frame, since the decoder was last emptied."""
        self.count_anew()
        self._decoding = {"max_pixels": str(max_pixels)}
        self._taken: int | None = None
        """Its number among the picture tracks, once it is chosen."""
        self._refuse_cut()
        self._open()
        try:
            self._choose()
            self.geometry = Geometry(self.container, self.stream)
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.container.close()

    def count_anew(self) -> None:
        self.decoded = 0

    def packets(self) -> Iterator[Any]:
        """Of the video stream, from here on; the last one is empty and makes the decoder give what
        it holds.

        Raises:
            av.FFmpegError: a packet cannot be read.
        """
        found = packets(self.container, self.stream)
        return self.clock.retimed(found, self._emptied) if self.clock else found

    def _emptied(self) -> Iterator[Any]:
        """A packet that makes the decoder give what it holds; after that it knows nothing more. A
        recording of another size would make it forget the last frame of the one before."""
        packet = av.Packet()
        packet.stream = self.stream
        yield packet
        self.stream.codec_context.flush_buffers()

    def frames(self, decode: Callable[[], list[Any]]) -> Iterator[Any]:
        """What `decode` makes of a packet: all frames are decoded here.

        Raises:
            av.FFmpegError: it cannot be decoded.
            TooLarge: it takes too many frames.
        """
        found = decode()
        self.geometry.follow(self.stream.codec_context)
        for frame in found:
            self.decoded += 1
            if self.decoded > self._max_decoded:
                raise TooLarge(
                    f"{self.name}: more than {self._max_decoded} frames have to be decoded",
                    max_decoded_frames=self._max_decoded,
                )
            if self.clock is not None:
                frame.pts = self._before = self.clock.time_of(frame, self._before)
            self.orientation.follow(frame)
            yield frame

    def seek(self, place: int) -> None:
        """To the keyframe of this time, or to the one before it in the container's index.

        Raises:
            av.FFmpegError: it cannot.
        """
        if self._has_palette:
            self.rewind()
            return
        self._before = None
        self.orientation = Orientation()
        byte = self.places.get(place)
        if byte is None:
            self.container.seek(place, stream=self.stream, backward=True)
        elif self.begins_at(byte, place):
            self._seek_byte(byte)
        else:
            raise av.FFmpegError(errno.ESPIPE, "no keyframe begins there")

    def begins_at(self, byte: int, key: int) -> bool:
        """Whether a keyframe of this time is the first that is read from this byte on. The rest of
        a frame that began before would take its time, and it the next one's."""
        self._seek_byte(byte)
        first = next(self.packets(), None)
        return first is not None and first.is_keyframe and first.pts == key

    def _seek_byte(self, byte: int) -> None:
        self.container.seek(byte, stream=self.stream, unsupported_byte_offset=True)

    @property
    def _has_palette(self) -> bool:
        """A MOV's colours come with its first packet, and never again: who seeks sees black."""
        pixels = self.stream.codec_context.format
        palette = pixels is not None and pixels.name == "pal8"
        return bool(palette and self.container.format.name.startswith("mov"))

    @property
    def has_sample_table(self) -> bool:
        """Whether it is an MP4 or a MOV."""
        return bool(self.container.format.name.startswith("mov"))

    def sample_table(self, tick: Callable[[], None]) -> sample_table.SampleTable | None:
        """Of its track; None: it has none that can be believed. Reading goes on where it was."""
        if not self.has_sample_table:
            return None
        with self._file() as file:
            frames = len(self.stream.index_entries)
            return sample_table.read(file, self.stream.id, frames, tick)

    def _refuse_cut(self) -> None:
        """FFmpeg takes the tracks that it finds in what is left of an index.

        Raises:
            Truncated: of an MP4's or MOV's index, the end is missing.
        """
        if named(READ, self._head(BEGINNING)) in INDEXED:
            with self._file() as file:
                if sample_table.index_is_cut(file):
                    raise why_cut(self.name)

    @contextmanager
    def _file(self) -> Iterator[Any]:
        """To be read anywhere, while FFmpeg reads on where it was."""
        if not hasattr(self._source, "seek"):
            with Path(self._source).open("rb") as file:
                yield file
            return
        at = self._source.tell()
        try:
            yield self._source
        finally:
            self._source.seek(at)

    def refuse_encrypted(self, keys: Iterable[int]) -> None:
        """Where something cannot be decoded.

        Args:
            keys: times of keyframes that may be read.

        Raises:
            NotAVideo: it is encrypted.
        """
        scrambled = encryption.is_scrambled(self._head(encryption.HEAD_BYTES))
        if scrambled or any(map(self._is_encrypted_at, keys)):
            raise why_encrypted(self.name)

    def _is_encrypted_at(self, key: int) -> bool:
        try:
            self.seek(key)
            return bool(next(self.packets()).has_sidedata(encryption.SIDE_DATA))
        except (av.FFmpegError, StopIteration):
            return False

    def rewind(self) -> None:
        """To the first packet, also where nothing can be sought."""
        self._before = None
        self.container.close()
        self.orientation = Orientation()
        self._open()

    def look_closer(self) -> None:
        """To the first packet, with some pictures decoded: sizes are then what they really are."""
        self.container.close()
        self._open_with({})

    def _open(self) -> None:
        self.beginning = first_bytes = self._head(BEGINNING)
        if first_bytes[4:8] == MP4:
            self._open_with(AT_ONCE)
        elif first_bytes[:4] == MATROSKA:
            self._open_with(WITHOUT_A_DECODER)
        elif TS_SYNC in (first_bytes[:1], first_bytes[4:5]):
            self._open_with(PARSED)
        else:
            self._open_with({})
            return
        if not _is_described(self.stream):
            self.look_closer()

    def _open_with(self, looking: dict[str, str]) -> None:
        if hasattr(self._source, "seek"):
            self._source.seek(0)
        try:
            # Titles in other encodings than UTF-8 are none of our business.
            container = av.open(
                self._source,
                options={
                    "format_whitelist": ",".join(STILL_DEMUXERS if self._still else DEMUXERS),
                    "protocol_whitelist": "file",
                    **self._decoding,
                    **looking,
                },
                timeout=(OPEN_S, OPEN_S),
                metadata_errors="replace",
            )
        except av.FFmpegError as error:
            if self._still:
                raise why_no_still(self.name, self._head(HEAD_BYTES)) from error
            self.refuse_encrypted([])
            raise why_unreadable(self.name, head_of(self._head)) from error
        try:
            brand = container.metadata.get("major_brand")
            if brand in STILLS and not any(map(_is_track, container.streams)):
                raise why_still(self.name, brand)
            self.container, self.stream = container, self._video_of(container)
            if encryption.is_said(container, self.stream):
                raise why_encrypted(self.name)
        except BaseException:
            container.close()
            raise
        if not hasattr(self, "tags"):
            self.tags = Tags.of_container(self.container, self.stream)

    def _video_of(self, container: Any) -> Any:
        found = self._candidates = candidates(container.streams.video, self._max_pixels)
        if not found:
            kinds = {stream.type for stream in container.streams}
            raise why_no_pictures(
                self.name,
                self._head(HEAD_BYTES),
                container.format.name.split(",")[0],
                kinds,
                cover="video" in kinds,
            )
        stream = next((one.stream for one in found if one.index == self._taken), found[0].stream)
        if stream.codec_context is None:
            self.refuse_encrypted([])
            raise why_undecodable(self.name, self._ends(CODEC_BYTES))
        # One thread: many videos are decoded at once, and PyAV's frame threads may hang at exit.
        # dav1d heeds the count alone, and unasked takes a thread a core.
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        sorting = SORTED[stream.codec_context.name] if _is_parsed(stream) else {}
        stream.codec_context.options = self._decoding | sorting
        # Else edges at which a picture cannot be cut quickly are left on it.
        stream.codec_context.flags |= Flags.unaligned
        # Else a seek reads them too, wherever in the file they are.
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        return stream

    def _ends(self, size: int) -> bytes:
        """The first bytes and the last ones."""
        with self._file() as file:
            file.seek(max(0, file.seek(0, SEEK_END) - size))
            return self._head(size) + bytes(file.read(size))

    def read_at(self, place: int, size: int) -> bytes:
        """Bytes of the file, which are fewer at its end. Reading goes on where it was."""
        with self._file() as file:
            file.seek(place)
            return bytes(file.read(size))

    def _choose(self) -> None:
        """The best track that gives a picture. Where there is only one, none is decoded for it."""
        found = self._candidates
        taken = found[0]
        if len(found) > 1:
            taken = next((one for one in found if one.decodable and self._decodes(one)), taken)
        self._taken = taken.index
        if len(found) > 1:
            self.rewind()
        rivals = [one for one in found if one.index != taken.index]
        self.track = Track(taken.index, len(self.container.streams.video), why(taken, rivals))

    def _decodes(self, one: Candidate) -> bool:
        self._taken = one.index
        self.rewind()
        with suppress(av.FFmpegError):
            for packet in islice(self.packets(), PATIENCE):
                with suppress(av.FFmpegError):
                    if packet.decode():
                        return True
        return False


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """As `VideoFile.packets`, of any stream."""
    with suppress(IndexError):
        # PyAV has no object for a stream that begins on the way, and looks for it at the end.
        context = stream.codec_context
        if container.format.name == "ogg" or context.name == THEORA:
            yield from _pictures(container.demux(stream), context.name)
        else:
            yield from container.demux(stream)


def _pictures(found: Iterator[Any], codec: str) -> Iterator[Any]:
    """Without the headers with which another recording of a chained Ogg begins. Theora's decoder
    takes the new tables from them. And without packets of no bytes, in which Theora says that the
    picture before stays: it is so much longer."""
    before: Any = None
    for packet in found:
        if not packet.size and packet.pts is not None:
            if before is not None:
                before.duration += packet.duration
            continue
        if before is not None:
            yield before
        before = None
        head = bytes(memoryview(packet)[:5]) if packet.size else b""
        if codec == THEORA and head[:1] >= b"\x80":
            with suppress(av.FFmpegError):
                packet.decode()
        elif not (codec == "vp8" and head == VP8_HEADER):
            before = packet
    if before is not None:
        yield before


def _is_described(stream: Any) -> bool:
    """All that its decoder has to know, by the container alone. Of H.264 that is how far pictures
    are reordered, which an MP4's table of samples tells; where it has none, some must be decoded,
    or the first frames may come in the wrong order."""
    context = stream.codec_context
    if context.name in IN_ORDER or _is_parsed(stream):
        return bool(context.width and context.height)
    if context.name == "h264":
        return bool(0 < stream.frames == len(stream.index_entries))
    # Where there is none, PyAV 17 crashes on its `pix_fmt`.
    return context.format is not None


def _is_parsed(stream: Any) -> bool:
    return stream.container.format.name == "mpegts" and stream.codec_context.name in SORTED


def _is_track(stream: Any) -> bool:
    """Of HEIC and AVIF: no picture that stands alone, which is a stream to FFmpeg, too."""
    return stream.duration is not None
