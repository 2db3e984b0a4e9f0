"""Bad and odd videos, each with what may come of it: made by code, the same each time.

A corpus of broken, lying, huge and merely unusual files, and a mutator for endless more. Knows
nothing of how they are decoded.
"""

import functools
import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av

from tests.hostile_files import (
    FPS,
    SIZE,
    UNKNOWN,
    Clip,
    box,
    clip,
    element,
    encoded,
    media_header,
    mkv,
    movie_header,
    mp4,
    numbers,
    picture,
    png,
    remuxed,
    sample_entry,
    sound,
    track_header,
)

OK = frozenset({"ok"})
PARTIAL = frozenset({"partial"})
SHOWN = OK | PARTIAL
NOT_A_VIDEO = frozenset({"not_a_video"})
TRUNCATED = frozenset({"truncated"})
UNREADABLE = NOT_A_VIDEO | TRUNCATED
NO_VIDEO_STREAM = frozenset({"no_video_stream"})
TOO_LARGE = frozenset({"too_large"})
TOO_SLOW = frozenset({"too_slow"})
ANY = SHOWN | UNREADABLE | NO_VIDEO_STREAM | TOO_LARGE | TOO_SLOW


@dataclass(frozen=True)
class Hostile:
    name: str
    path: Path
    expect: frozenset[str]
    """What may come of it: "ok", "partial" (frames are missing or damaged), or the `reason` of an
    error."""


Made = Iterator[tuple[str, frozenset[str], bytes]]
"""Name, what may come of it, content."""


def make_corpus(folder: Path) -> list[Hostile]:
    """Write every file of it into the folder."""
    corpus = []
    for name, expect, content in made():
        path = folder / name
        path.write_bytes(content)
        corpus.append(Hostile(name, path, expect))
    return corpus


@functools.cache
def made() -> list[tuple[str, frozenset[str], bytes]]:
    """Once a run: it takes seconds."""
    return [one for group in GROUPS for one in group()]


def mutated(source: bytes, seed: int) -> bytes:
    """The file with one to four changes, each of another kind or at another place."""
    dice = random.Random(seed)
    content = source
    for _ in range(dice.randint(1, 4)):
        content = dice.choice(MUTATIONS)(content, dice)
    return content


def _flip(content: bytes, dice: random.Random) -> bytes:
    """Up to eight bits."""
    changed = bytearray(content)
    for _ in range(dice.randint(1, 8)):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _swap(content: bytes, dice: random.Random) -> bytes:
    """Two neighbouring ranges."""
    first, second, third = sorted(dice.randint(0, len(content)) for _ in range(3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def _resize(content: bytes, dice: random.Random) -> bytes:
    """One box says that it is larger, smaller, or without an end."""
    boxes = [
        at
        for kind in (b"moov", b"trak", b"mdia", b"stbl", b"stsd", b"stts", b"stsz", b"stco")
        if (at := content.find(kind) - 4) >= 0
    ]
    if not boxes:
        return content
    size = dice.choice([0, 1, 7, 8, 2**31, 2**32 - 1, dice.randrange(2**16)])
    return spliced(content, dice.choice(boxes), numbers(size))


def _cut(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randint(0, len(content))]


def _repeat(content: bytes, dice: random.Random) -> bytes:
    """A range, up to 4 KiB long, once more."""
    start = dice.randint(0, len(content))
    end = start + dice.randint(0, 4096)
    return content[:end] + content[start:end] + content[end:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [_flip, _swap, _resize, _cut, _repeat]


def spliced(content: bytes, at: int, new: bytes) -> bytes:
    """With other bytes from `at` on; nothing moves."""
    return content[:at] + new + content[at + len(new) :]


def at_box(content: bytes, kind: bytes, offset: int, new: bytes) -> bytes:
    """With other bytes in the first box of this kind, `offset` bytes after its name."""
    return spliced(content, content.index(kind) + 4 + offset, new)


@functools.cache
def good() -> Clip:
    """Two seconds, a keyframe each half second."""
    return clip()


@functools.cache
def plain() -> bytes:
    """An MP4 with B frames and its index at the end."""
    return encoded("mp4")


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def no_videos() -> Made:
    yield "empty.mp4", frozenset({"empty_file"}), b""
    yield "one-byte.mp4", NOT_A_VIDEO, b"\0"
    yield "noise.mp4", NOT_A_VIDEO, noise(1 << 16)
    yield "zeros.mp4", NOT_A_VIDEO, bytes(1 << 16)
    yield "begins-as-mp4.mp4", UNREADABLE, box(b"ftyp", b"isom") + noise(1 << 14, 2)
    yield "begins-as-matroska.mkv", UNREADABLE, element(0x1A45DFA3) + noise(1 << 14, 3)
    yield "nothing-but-ftyp.mp4", UNREADABLE, box(b"ftyp", b"isom\0\0\2\0isom")
    yield "page.html.mp4", NOT_A_VIDEO, b"<!DOCTYPE html><html><body>404</body></html>"
    yield "subtitles.srt", NOT_A_VIDEO, b"1\n00:00:01,000 --> 00:00:02,000\nWords\n\n"
    yield "subtitles.vtt", NOT_A_VIDEO, b"WEBVTT\n\n00:01.000 --> 00:02.000\nWords\n"
    yield "report.pdf", NOT_A_VIDEO, b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF\n"
    yield "packed.zip", NOT_A_VIDEO, zipped("video.mp4", plain())
    yield "packed.mp4.gz", NOT_A_VIDEO, gzip.compress(plain(), mtime=0)
    yield "bomb.svgz", NOT_A_VIDEO, gzip.compress(bytes(1 << 24), mtime=0)
    yield "photo.jpg", NOT_A_VIDEO, image("mjpeg", "yuvj420p")
    yield "photo.png", NOT_A_VIDEO, image("png", "rgb24")
    yield "program.so", NOT_A_VIDEO, b"\x7fELF\2\1\1" + noise(1 << 12, 4)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def image(codec: str, pixels: str) -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = *SIZE, pixels  # type: ignore[attr-defined]
    encoder.time_base = 1  # type: ignore[assignment]
    frame = av.VideoFrame.from_ndarray(picture(0, SIZE), format="rgb24").reformat(format=pixels)
    packets = [*encoder.encode(frame), *encoder.encode(None)]  # type: ignore[attr-defined]
    return b"".join(bytes(packet) for packet in packets)


def sounds() -> Made:
    yield "sound.mp4", NO_VIDEO_STREAM, sound("mp4", "aac")
    yield "sound.wav", NOT_A_VIDEO, sound("wav", "pcm_s16le")
    yield "sound.flac", NOT_A_VIDEO, sound("flac", "flac")
    yield "sound.ogg", NO_VIDEO_STREAM, sound("ogg", "libopus")
    yield "sound.mka", NO_VIDEO_STREAM, sound("matroska", "aac")
    yield "sound.ts", NO_VIDEO_STREAM, sound("mpegts", "aac")
    yield "sound.mp2", NOT_A_VIDEO, sound("mp2", "mp2")
    yield "song-with-cover.m4a", NO_VIDEO_STREAM, with_cover(sound("mp4", "aac"))


def with_cover(song: bytes) -> bytes:
    """As music shops sell it: a picture in the metadata, which FFmpeg calls a video stream."""
    cover = box(b"covr", box(b"data", numbers(13, 0), image("mjpeg", "yuvj420p")))
    handler = box(b"hdlr", numbers(0, 0) + b"mdirappl" + bytes(9))
    tags = box(b"udta", box(b"meta", numbers(0), handler, box(b"ilst", cover)))
    at = song.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", song, at)
    grown = spliced(song, at, numbers(size + len(tags)))
    return grown[: at + size] + tags + grown[at + size :]


def pointers() -> Made:
    """Files that name other files; `PLAIN` lies beside them."""
    yield PLAIN, OK, mp4(good())
    texts = {
        "file.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{PLAIN}\n#EXT-X-ENDLIST\n",
        "url.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n",
        "playlist-named.mp4": f"#EXTM3U\n#EXTINF:2,\n{PLAIN}\n#EXT-X-ENDLIST\n",
        "script.ffconcat": f"ffconcat version 1.0\nfile '{PLAIN}'\n",
        "concat.txt": f"file '{PLAIN}'\nfile '/etc/hostname'\n",
        "manifest.mpd": f'<MPD type="static"><Period><BaseURL>{PLAIN}</BaseURL></Period></MPD>',
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 9 RTP/AVP 96\n",
        "list.smil": f'<smil><body><video src="{PLAIN}"/></body></smil>',
        "list.xspf": f"<playlist><trackList><location>{PLAIN}</location></trackList></playlist>",
        "list.asx": f'<asx version="3.0"><entry><ref href="{PLAIN}"/></entry></asx>',
        "list.pls": f"[playlist]\nFile1={PLAIN}\n",
        "frames%03d.png": "frames%03d.png",
        "frames*.jpg": "-pattern_type glob",
        "lavfi.mp4": "movie=" + PLAIN,
    }
    for name, text in texts.items():
        yield name, NOT_A_VIDEO, text.encode()
    for name, place in {"beside": PLAIN, "host": "/etc/hostname"}.items():
        for kind in ("url ", "alis"):
            yield f"reference-{kind.strip()}-{name}.mov", NOT_A_VIDEO, referring(kind, place)
    target = box(b"rdrf", numbers(0), b"url ", numbers(len(PLAIN)), PLAIN.encode())
    movie = box(b"moov", box(b"rmra", box(b"rmda", target)))
    yield "reference-movie.mov", UNREADABLE, box(b"ftyp", b"qt  \0\0\0\0qt  ") + movie


PLAIN = "plain.mp4"


def referring(kind: str, place: str) -> bytes:
    """Its frames lie in another file, where `PLAIN` has its own; here are zeros."""
    name = place.encode()
    if kind == "alis":
        # One level up from the file, one level down to the target.
        alias = (
            bytes(130)
            + b"\0\1\0\1"
            + bytes(16)
            + struct.pack(">HH", 2, len(name))
            + name
            + bytes(len(name) % 2)
        )
        entry = box(b"alis", numbers(0), alias, b"\xff\xff\0\0")
    else:
        entry = box(b"url ", numbers(0), name + b"\0")
    plain_at = mp4(good()).index(b"mdat") + 4
    return mp4(
        good(),
        dref=numbers(0, 1) + entry,
        mdat=bytes(plain_at + sum(map(len, good().packets))),
        stco=numbers(0, 1, plain_at),
    )


def cuts() -> Made:
    fast, matroska = mp4(good()), encoded("matroska")
    for tenth in range(1, 10):
        yield f"cut-index-last-{tenth}0.mp4", TRUNCATED, share(plain(), tenth / 10)
        yield f"cut-index-first-{tenth}0.mp4", PARTIAL, share(fast, tenth / 10)
        # Up to a fifth may be missing before it is worth more to refuse than to caption.
        expect = PARTIAL if tenth < 7 else SHOWN
        yield f"cut-{tenth}0.mkv", expect, share(matroska, tenth / 10)
    yield "cut-in-index.mp4", UNREADABLE, fast[: fast.index(b"stts")]
    yield "cut-last-byte.mp4", SHOWN | TRUNCATED, fast[:-1]
    fragments = fragmented()
    yield "cut-fragments.mp4", SHOWN | TRUNCATED, share(fragments, 0.6)
    yield "cut-first-fragment.mp4", SHOWN | UNREADABLE, share(fragments, 0.15)
    for ending, made in no_index().items():
        expect = SHOWN | TRUNCATED
        yield f"cut-half.{ending}", expect, share(made, 0.5)
        yield f"cut-tenth.{ending}", expect | NOT_A_VIDEO | NO_VIDEO_STREAM, share(made, 0.04)


def share(content: bytes, part: float) -> bytes:
    return content[: int(len(content) * part)]


def fragmented() -> bytes:
    return encoded("mp4", muxer={"movflags": "frag_keyframe+empty_moov+default_base_moof"})


def half_fragmented() -> bytes:
    """The index has the first group of pictures; the others are in fragments, of which a segment
    index (ISO/IEC 14496-12, `sidx`) tells where they are: nobody has to look for them."""
    content = encoded("mp4", muxer={"movflags": "frag_keyframe+default_base_moof+skip_trailer"})
    boxes, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        boxes.append((content[at + 4 : at + 8], at, size))
        at += size
    first = next(at for kind, at, _ in boxes if kind == b"moof")
    sizes = [size for _, at, size in boxes if at >= first]
    fragments = [moof + mdat for moof, mdat in zip(sizes[::2], sizes[1::2], strict=True)]
    told = [number for size in fragments for number in (size, 12, 0x90000000)]
    segments = box(b"sidx", numbers(0, 1, FPS, 12, 0, len(fragments), *told))
    return content[:first] + segments + content[first:]


@functools.cache
def no_index() -> dict[str, bytes]:
    """Files that can be read from their first byte on, by ending."""
    return {
        "ts": encoded("mpegts"),
        "webm": encoded("webm", "libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}),
        "avi": encoded("avi", "mpeg4"),
        "flv": encoded("flv", "flv"),
        "ogv": encoded("ogg", "libvpx", options={"cpu-used": "8", "deadline": "realtime"}),
        "gif": encoded("gif", "gif", 24, pixels="rgb8"),
        "asf": encoded("asf", "wmv2"),
        "mxf": encoded("mxf", "mpeg2video"),
        "mpg": encoded("mpeg", "mpeg1video"),
        "h264": encoded("h264"),
    }


def damaged() -> Made:
    whole = mp4(good())
    start, end = len(whole) // 3, len(whole) // 2
    dice = random.Random(6)
    changed = bytearray(whole)
    for at in dice.sample(range(start, end), (end - start) // 100):
        changed[at] = dice.randrange(256)
    yield "one-percent-changed.mp4", PARTIAL, bytes(changed)
    yield "range-zeroed.mp4", PARTIAL, spliced(whole, start, bytes(end - start))
    yield "range-noise.mp4", PARTIAL, spliced(whole, start, noise(end - start))
    media = whole.index(b"mdat") + 4
    yield "all-media-zeroed.mp4", NOT_A_VIDEO, spliced(whole, media, bytes(len(whole) - media))
    yield "all-media-noise.mp4", NOT_A_VIDEO | PARTIAL, whole[:media] + noise(len(whole) - media)
    yield "keyframes-zeroed.mp4", PARTIAL | NOT_A_VIDEO, mp4(without(good(), good().keys))
    yield "first-frame-zeroed.mp4", PARTIAL, mp4(without(good(), (0,)))
    yield "between-targets.mp4", PARTIAL, mp4(without(good(), (13, 14)))
    yield "every-third-frame-zeroed.mp4", PARTIAL, mp4(without(good(), tuple(range(1, 48, 3))))
    for ending, made in no_index().items():
        middle = len(made) // 2
        broken = spliced(made, middle, bytes(len(made) // 8))
        yield f"range-zeroed.{ending}", SHOWN | TRUNCATED, broken
        yield f"repeated.{ending}", ANY, made + made
    for seed in range(24):
        yield f"bits-{seed}.mp4", ANY, _flip(whole, random.Random(seed))
    for seed in range(8):
        yield f"bits-{seed}.mkv", ANY, _flip(mkv(good()), random.Random(seed))
        index = _flip(whole[:media], random.Random(seed))
        yield f"bits-in-index-{seed}.mp4", ANY, index + whole[media:]
        yield f"mutated-{seed}.mp4", ANY, mutated(plain(), seed)
        yield f"mutated-{seed}.ts", ANY, mutated(no_index()["ts"], seed)


def without(source: Clip, numbers_of: tuple[int, ...]) -> Clip:
    """These packets are zeros of the same length."""
    packets = [
        bytes(len(packet)) if i in numbers_of else packet for i, packet in enumerate(source.packets)
    ]
    return Clip(tuple(packets), source.keys, source.extradata, source.size)


def odd() -> Made:
    """Nothing is wrong with these."""
    fast = {"preset": "ultrafast"}
    still = "libx265", {**fast, "x265-params": "log-level=0:pools=1:frame-threads=1"}
    yield "one-frame.mp4", OK, encoded("mp4", frames=1)
    yield "three-frames.mp4", OK, encoded("mp4", frames=3)
    yield "odd-size.mp4", OK, encoded("mp4", size=(321, 179), pixels="yuv444p")
    yield "ten-bit.mp4", OK, encoded("mp4", pixels="yuv420p10le")
    for matrix in ("YCgCo", "chroma-derived-c"):
        colours = {"x264-params": f"rc-lookahead=0:colormatrix={matrix}"}
        yield f"colours-{matrix}.mp4", OK, encoded("mp4", options=colours)
    yield "grey.mp4", OK, encoded("mp4", pixels="gray")
    yield "interlaced.mp4", OK, encoded("mp4", options={"x264-params": "tff=1:rc-lookahead=0"})
    yield "intra-refresh.mp4", OK, encoded("mp4", options={"intra-refresh": "1", "bf": "0"})
    yield "fragments.mp4", OK, fragmented()
    yield "half-fragments.mp4", OK, half_fragmented()
    yield "hevc.mp4", OK, encoded("mp4", still[0], options=still[1])
    yield "av1.mp4", OK, encoded("mp4", "libsvtav1", options={"preset": "12"})
    yield "alpha.webm", OK, encoded("webm", "libvpx-vp9", 12, pixels="yuva420p")
    yield "alpha.mov", OK, encoded("mov", "png", 12, pixels="rgba")
    yield "palette.avi", OK, encoded("avi", "rawvideo", 6, pixels="bgr24")
    yield "prores.mov", OK, encoded("mov", "prores_ks", 12, pixels="yuva444p10le")
    yield "animation.mov", OK, encoded("mov", "qtrle", 12, pixels="argb")
    yield "lossless.mkv", OK, encoded("matroska", "ffv1", 12, pixels="gbrp16le")
    yield "motion-jpeg.avi", OK, encoded("avi", "mjpeg", 12, pixels="yuvj422p")
    yield "thin.mkv", OK, encoded("matroska", "ffv1", 6, size=(512, 1))
    yield "one-pixel.mov", OK, encoded("mov", "png", 6, size=(1, 1), pixels="rgb24")
    for ending, made in no_index().items():
        yield f"whole.{ending}", OK, made
    pauses = [*range(24), *range(60, 84)]
    yield "pause-in-the-middle.mp4", OK, encoded("mp4", times=pauses)
    yield "pause-in-the-middle.mkv", OK, encoded("matroska", times=pauses)
    yield "last-frame-held.mp4", OK, mp4(good(), **held(96))
    yield "last-frame-held.mkv", OK, encoded("matroska", holds=96)
    yield "edit-list-from-the-middle.mp4", OK, edited(24, 24)
    yield (
        "edit-list-begins-late.mp4",
        OK,
        mp4(good(), elst=numbers(0, 2, 24, -1, UNIT, 48, 0, UNIT)),
    )
    yield "two-descriptions.mp4", OK, mp4(good(), stsd=two_descriptions())
    yield "live.mkv", OK, mkv(good(), duration=None, segment_size=UNKNOWN)
    yield "endless-clusters.mkv", OK, mkv(good(), cluster_size=UNKNOWN, segment_size=UNKNOWN)


UNIT = 1 << 16
"""1.0 as a fixed-point number: the rate of an edit list."""


def held(ticks: int) -> dict[str, bytes]:
    """Boxes of a video whose last frame stays on screen for so long."""
    total = 47 + ticks
    return {
        "stts": numbers(0, 2, 47, 1, 1, ticks),
        "mvhd": movie_header(total),
        "tkhd": track_header(total),
        "mdhd": media_header(total),
    }


def edited(start: int, ticks: int) -> bytes:
    """Shows a part of its frames."""
    return mp4(
        good(),
        elst=numbers(0, 1, ticks, start, UNIT),
        mvhd=movie_header(ticks),
        tkhd=track_header(ticks),
    )


def two_descriptions() -> bytes:
    entry = sample_entry(good())[8:]
    return numbers(0, 2) + entry + entry


def turned() -> Made:
    one = UNIT
    matrices = {
        "90": (0, one, 0, -one),
        "180": (-one, 0, 0, -one),
        "270": (0, -one, 0, one),
        "45": (46341, 46341, -46341, 46341),
        "mirrored": (-one, 0, 0, one),
        "flat": (0, 0, 0, 0),
        "skewed": (one, 2**31 - 1, 7, -one),
    }
    for name, (a, b, c, d) in matrices.items():
        matrix = numbers(a, b, 0, c, d, 0, 0, 0, 1 << 30)
        yield f"turned-{name}.mp4", OK, mp4(good(), tkhd=track_header(48, matrix=matrix))


def lying_mp4() -> Made:
    """Each with one wrong number in its index."""
    huge = 0x7FFFFFFF
    count = len(good().packets)
    tables: dict[str, tuple[frozenset[str], dict[str, bytes]]] = {
        "duration-huge": (
            OK,
            {
                "mvhd": movie_header(huge),
                "tkhd": track_header(huge),
                "mdhd": media_header(huge),
            },
        ),
        "duration-zero": (
            OK,
            {"mvhd": movie_header(0), "tkhd": track_header(0), "mdhd": media_header(0)},
        ),
        "movie-duration-huge": (OK, {"mvhd": movie_header(huge)}),
        "timescale-zero": (SHOWN | UNREADABLE, {"mdhd": media_header(48, 0)}),
        "timescale-huge": (SHOWN, {"mdhd": media_header(48, huge)}),
        "timescale-one": (OK, {"mdhd": media_header(48, 1)}),
        "times-equal": (SHOWN | NOT_A_VIDEO, {"stts": numbers(0, 1, count, 0)}),
        "times-huge": (SHOWN | UNREADABLE, {"stts": numbers(0, 1, count, huge)}),
        "times-backwards": (SHOWN | UNREADABLE, {"stts": numbers(0, 1, count, -1)}),
        "times-for-too-many": (SHOWN | TRUNCATED, {"stts": numbers(0, 1, 2**32 - 1, 1)}),
        "times-for-few": (SHOWN | UNREADABLE, {"stts": numbers(0, 1, 3, 1)}),
        "times-missing": (SHOWN | UNREADABLE, {"stts": numbers(0, 0)}),
        "times-table-endless": (SHOWN | UNREADABLE, {"stts": numbers(0, 2**32 - 1, count, 1)}),
        "shown-far-later": (SHOWN, {"ctts": numbers(0, 2, 24, 0, 24, huge)}),
        "shown-before": (SHOWN, {"ctts": numbers(1 << 24, 1, count, -1000)}),
        "shown-in-disorder": (
            SHOWN,
            {"ctts": numbers(0, count, *(x for i in range(count) for x in (1, i * 7 % 48)))},
        ),
        "sizes-huge": (UNREADABLE, {"stsz": numbers(0, 0, count, *[huge] * count)}),
        "sizes-zero": (UNREADABLE, {"stsz": numbers(0, 0, count, *[0] * count)}),
        "samples-2e31": (UNREADABLE | SHOWN, {"stsz": numbers(0, 0, 2**31, 9, 9)}),
        "samples-2e31-alike": (UNREADABLE, {"stsz": numbers(0, 100, 2**31)}),
        "samples-many-alike": (UNREADABLE | TOO_SLOW | TOO_LARGE, many_samples(8_000_000)),
        "chunks-empty": (PARTIAL | UNREADABLE, {"stsc": numbers(0, 1, 1, 0, 1)}),
        "chunks-huge": (SHOWN, {"stsc": numbers(0, 1, 1, huge, 1)}),
        "chunks-from-zero": (SHOWN | UNREADABLE, {"stsc": numbers(0, 1, 0, count, 1)}),
        "chunks-other-description": (SHOWN | UNREADABLE, {"stsc": numbers(0, 1, 1, count, 9)}),
        "offset-beyond": (TRUNCATED, {"stco": numbers(0, 1, 2**31)}),
        "offset-zero": (UNREADABLE, {"stco": numbers(0, 1, 0)}),
        "keyframes-none": (SHOWN, {"stss": numbers(0, 0)}),
        "keyframes-all-lies": (SHOWN, {"stss": numbers(0, 3, 7, 20, 30)}),
        "keyframes-beyond": (SHOWN, {"stss": numbers(0, 2, 1, huge)}),
        "size-in-track": (OK, {"tkhd": track_header(48, (65535, 65535))}),
        "size-zero-in-track": (OK, {"tkhd": track_header(48, (0, 0))}),
        "edits-past-the-end": (SHOWN | UNREADABLE, {"elst": numbers(0, 1, 48, huge, UNIT)}),
        "edits-before-zero": (SHOWN | UNREADABLE, {"elst": numbers(0, 1, 48, -2, UNIT)}),
        "edits-endless": (SHOWN | UNREADABLE, {"elst": numbers(0, 2**32 - 1, 48, 0, UNIT)}),
        "edits-empty-huge": (SHOWN, {"elst": numbers(0, 2, huge, -1, UNIT, 48, 0, UNIT)}),
        "edits-again-and-again": (SHOWN, {"elst": numbers(0, 3, *[48, 0, UNIT] * 3)}),
        "track-of-nothing": (SHOWN | UNREADABLE, {"hdlr": numbers(0, 0) + b"XXXX" + bytes(13)}),
        "a-sound-track": (
            UNREADABLE | NO_VIDEO_STREAM,
            {"hdlr": numbers(0, 0) + b"soun" + bytes(13)},
        ),
    }
    for name, (expect, payloads) in tables.items():
        yield f"{name}.mp4", expect, mp4(good(), **payloads)
    for name, expect, entry in lying_descriptions():
        yield f"description-{name}.mp4", expect, mp4(good(), stsd=entry)
    times = fragmented()
    for name, moment in {"2e40": 2**40, "2e62": 2**62, "2e63": 2**63 - 1}.items():
        late = at_box(times, b"tfdt", 0, b"\1\0\0\0" + struct.pack(">Q", moment))
        yield f"first-fragment-at-{name}.mp4", SHOWN | UNREADABLE, late
    count_at = times.index(b"trun") + 8
    yield "fragment-endless.mp4", SHOWN | UNREADABLE, spliced(times, count_at, numbers(2**32 - 1))


def many_samples(count: int) -> dict[str, bytes]:
    """Of one byte, in chunks that lie in one place: little of a file for an index of gigabytes."""
    chunks = 1000
    return {
        "stsz": numbers(0, 1, count),
        "stsc": numbers(0, 1, 1, count // chunks, 1),
        "stco": numbers(0, chunks, *[700] * chunks),
        "stts": numbers(0, 1, count, 1),
        "mdhd": media_header(count),
    }


def lying_descriptions() -> Made:
    for kind in (b"hvc1", b"mp4v", b"av01", b"vp09", b"jpeg", b"png ", b"rle ", b"raw ", b"XXXX"):
        yield kind.decode().strip(), SHOWN | UNREADABLE, sample_entry(good(), kind)
    entry = sample_entry(good())
    # Width and height are 32 bytes into the entry.
    yield "65535", OK | TOO_LARGE, spliced(entry, 8 + 32, b"\xff\xff\xff\xff")
    yield "size-zero", OK, spliced(entry, 8 + 32, bytes(4))
    other = Clip((), (), noise(40, 9), SIZE)
    yield "noise", SHOWN | UNREADABLE, sample_entry(other)
    yield "without-config", SHOWN | UNREADABLE, sample_entry(other, config=b"free")
    larger = clip(1, size=(256, 192))
    yield "of-another-size", SHOWN | UNREADABLE, sample_entry(larger)
    yield "none", UNREADABLE, numbers(0, 0)


def lying_boxes() -> Made:
    """Each with one box of a wrong size, or far too many boxes."""
    whole = mp4(good())
    sizes = {"0": 0, "7": 7, "2e31": 2**31, "2e32": 2**32 - 1}
    for kind in (b"moov", b"trak", b"stsd", b"mdat"):
        for name, size in sizes.items():
            at = whole.index(kind) - 4
            expect = SHOWN | UNREADABLE
            yield f"{kind.decode()}-size-{name}.mp4", expect, spliced(whole, at, numbers(size))
    for name, size in {"2e63": 2**63, "2e64": 2**64 - 1, "9": 9}.items():
        large = struct.pack(">I4sQ", 1, b"moov", size)
        at = whole.index(b"moov") - 4
        yield f"moov-long-size-{name}.mp4", UNREADABLE, whole[:at] + large + whole[at + 8 :]
    head = box(b"ftyp", b"isom\0\0\2\0isom")
    yield "nested-boxes.mp4", UNREADABLE, head + nested(b"moov", 10_000)
    yield (
        "nested-tracks.mp4",
        UNREADABLE | NO_VIDEO_STREAM,
        head + box(b"moov", nested(b"trak", 5_000)),
    )
    yield "many-boxes.mp4", OK, mp4(good(), before=box(b"free") * 200_000)
    yield "thousand-tracks.mp4", SHOWN | UNREADABLE, mp4(good(), moov=track_of(whole) * 2_000)
    yield "two-indexes.mp4", SHOWN | UNREADABLE, whole + whole[: whole.index(b"mdat")]
    title = box(b"udta", box(b"\xa9nam", struct.pack(">HH", 65535, 0), bytes(65535)))
    yield "long-title.mp4", OK, mp4(good(), moov=title)


def nested(kind: bytes, depth: int) -> bytes:
    heads = [struct.pack(">I4s", 8 * (depth - level), kind) for level in range(depth)]
    return b"".join(heads)


def track_of(whole: bytes) -> bytes:
    """Its first track's box."""
    at = whole.index(b"trak") - 4
    return whole[at : at + struct.unpack_from(">I", whole, at)[0]]


def lying_matroska() -> Made:
    video = good()
    last = 2**62
    yield "cluster-too-long.mkv", SHOWN, mkv(video, cluster_size=1 << 40)
    yield "cluster-too-short.mkv", SHOWN | UNREADABLE, mkv(video, cluster_size=3)
    yield "segment-too-long.mkv", SHOWN, mkv(video, segment_size=1 << 50)
    yield "segment-empty.mkv", SHOWN | UNREADABLE, mkv(video, segment_size=0)
    yield "duration-huge.mkv", SHOWN | TRUNCATED, mkv(video, duration=1e18)
    yield "duration-nan.mkv", SHOWN, mkv(video, duration=float("nan"))
    yield "duration-negative.mkv", SHOWN, mkv(video, duration=-5.0)
    for name, tag in {
        "words": b"a:b:c",
        "nan": b"nan:nan:nan",
        "infinite": b"inf:0:0",
        "huge": b"99999999999:00:00",
        "negative": b"-1:-1:-1",
        "bytes": b"\xff\xfe:\0:\1",
    }.items():
        yield f"duration-tag-{name}.mkv", SHOWN | TRUNCATED, mkv(video, tag=tag)
    yield "track-unknown.mkv", UNREADABLE, mkv(video, track=9)
    yield "codec-unknown.mkv", NOT_A_VIDEO, mkv(video, codec=b"V_NOTHING")
    yield "codec-another.mkv", UNREADABLE, mkv(video, codec=b"V_VP9")
    yield "codec-text.mkv", UNREADABLE | NO_VIDEO_STREAM, mkv(video, codec=b"S_TEXT/UTF8")
    yield "size-huge.mkv", OK | TOO_LARGE, mkv(video, size=(2**31 - 1, 2**31 - 1))
    yield "size-zero.mkv", SHOWN, mkv(video, size=(0, 0))
    yield "scale-zero.mkv", SHOWN | UNREADABLE, mkv(video, scale=0)
    yield "scale-2e62.mkv", SHOWN | UNREADABLE, mkv(video, scale=last)
    yield "seconds.mkv", SHOWN, mkv(video, scale=10**9, times=list(range(48)), duration=48.0)
    yield "million-a-second.mkv", SHOWN, mkv(video, frame_ns=1000)
    yield "never-a-frame.mkv", SHOWN, mkv(video, frame_ns=2**63)
    yield "times-equal.mkv", SHOWN, mkv(video, times=[0] * 48)
    yield "times-in-disorder.mkv", SHOWN, mkv(video, times=[i * 29 % 48 * 40 for i in range(48)])
    yield "times-backwards.mkv", SHOWN, mkv(video, times=[40 * (48 - i) for i in range(48)])
    yield "times-negative.mkv", SHOWN, mkv(video, block_at=-30_000)
    yield "times-near-2e62.mkv", SHOWN, mkv(video, times=[last + 41 * i for i in range(48)])
    leap = [41 * i for i in range(47)]
    yield "leap-to-2e62.mkv", SHOWN | TRUNCATED, mkv(video, times=[*leap, last], duration=None)
    yield "leap-to-2e63.mkv", SHOWN | TRUNCATED, mkv(video, times=[*leap, 2**63 - 1], duration=None)
    yield "nested-elements.mkv", SHOWN | UNREADABLE, mkv(video, more=nested_tags(2_000))
    yield (
        "attachment-huge.mkv",
        SHOWN | UNREADABLE,
        mkv(video, more=element(0x1941A469, size=2**50)),
    )
    lost = element(0x1C53BB6B, element(0xBB, element(0xB3, bytes(8))))
    yield "cues-to-nowhere.mkv", SHOWN, mkv(video, more=lost)
    yield "void.mkv", SHOWN, mkv(video, more=element(0xEC) * 100_000)


def nested_tags(depth: int) -> bytes:
    """SimpleTag elements in each other."""
    tags = b""
    for _ in range(depth):
        tags = element(0x67C8, tags)
    return element(0x1254C367, element(0x7373, tags))


def giants() -> Made:
    """Small files of large pictures, or of very many."""
    for width, height in ((16384, 8192), (8000, 8000)):
        still = Clip((png(width, height),), (0,), b"", (width, height))
        entry = sample_entry(still, b"png ", b"free")
        yield f"picture-{width}x{height}.mov", TOO_LARGE, mp4(still, stsd=entry)
    lying = Clip((png(8000, 8000),), (0,), b"", SIZE)
    entry = sample_entry(lying, b"png ", b"free")
    yield "picture-larger-than-said.mov", TOO_LARGE | NOT_A_VIDEO, mp4(lying, stsd=entry)
    large = clip(1, size=(8192, 8192), pixels="gray", options={"preset": "ultrafast"})
    yield "h264-8192x8192.mp4", TOO_LARGE, mp4(large)
    yield (
        "h264-8192x8192-said-small.mp4",
        TOO_LARGE,
        mp4(Clip(large.packets, large.keys, large.extradata, SIZE)),
    )
    said = mp4(good())
    grows = remuxed(said, "mpegts") + b"".join(
        remuxed(mp4(large), "mpegts", ticks=second * 90_000) for second in range(3, 9)
    )
    yield "grows-to-8192x8192.ts", PARTIAL | TOO_LARGE, grows
    most = clip(2, size=(4096, 2304), pixels="gray", options={"preset": "ultrafast"})
    yield "largest-allowed.mp4", OK, mp4(most)
    yield "canvas-65535.gif", UNREADABLE | TOO_LARGE, gif(65535, 65535)
    yield "canvas-zero.gif", UNREADABLE, gif(0, 0)
    yield "frame-beyond-canvas.gif", SHOWN | UNREADABLE, gif(8, 8, 65535)
    photo = image("mjpeg", "yuvj420p")
    at = photo.index(b"\xff\xc0") + 5
    wide = Clip((spliced(photo, at, b"\xfd\xe8\xfd\xe8"),), (0,), b"", SIZE)
    entry = sample_entry(wide, b"jpeg", b"free")
    yield "jpeg-65000x65000-said-small.mov", TOO_LARGE | UNREADABLE, mp4(wide, stsd=entry)
    yield "long-gop.mp4", OK | TOO_SLOW, long_gop(600_000)


def gif(width: int, height: int, side: int = 1) -> bytes:
    """One frame of one pixel, which may say that it has side x side."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(3) + b"\xff" * 3
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02D\x01\0"
    return head + frame + b";"


def long_gop(frames: int) -> bytes:
    """One keyframe, then the same sixteen still frames over and over, each stored once.

    H.264 frame numbers wrap after sixteen, so that the stream is a valid one.
    """
    period = 16
    short = clip(period + 1, size=(16, 16), gop=250, options={"tune": "zerolatency"})
    sizes = [len(packet) for packet in short.packets]
    places = [sum(sizes[:i]) for i in range(period + 1)]
    turn = [0, *((i - 1) % period + 1 for i in range(1, frames))]

    def made(media_at: int) -> bytes:
        return mp4(
            short,
            stts=numbers(0, 1, frames, 1),
            stsc=numbers(0, 1, 1, 1, 1),
            stsz=numbers(0, 0, frames, *(sizes[i] for i in turn)),
            stco=numbers(0, frames, *(media_at + places[i] for i in turn)),
            mvhd=movie_header(frames),
            tkhd=track_header(frames),
            mdhd=media_header(frames),
        )

    return made(made(0).index(b"mdat") + 4)


def streams() -> Made:
    """Streams that become another one on the way, and clocks that do odd things."""
    said = mp4(good())
    first = remuxed(said, "mpegts")
    second = 2 * 90_000
    larger = remuxed(mp4(clip(size=(256, 192))), "mpegts", ticks=second)
    yield "becomes-larger.ts", SHOWN, first + larger
    yield "becomes-mpeg2.ts", SHOWN, first + encoded("mpegts", "mpeg2video")
    hevc = encoded(
        "mpegts",
        "libx265",
        options={"preset": "ultrafast", "x265-params": "log-level=0:pools=1:frame-threads=1"},
    )
    yield "becomes-hevc.ts", SHOWN, first + hevc
    yield "becomes-larger.h264", SHOWN, encoded("h264") + encoded("h264", size=(256, 192))
    song = remuxed(sound("mpegts", "aac"), "mpegts", kind="audio", mpegts_start_pid="512")
    yield "sound-begins-on-the-way.ts", SHOWN, first + song
    yield "clock-starts-again.ts", SHOWN | TRUNCATED, first + first
    wrap = 2**33 - 90_000 - 126_000
    yield "clock-wraps.ts", OK, remuxed(said, "mpegts", ticks=wrap)
    yield "clock-leaps.ts", SHOWN, first + remuxed(said, "mpegts", ticks=2**32)
    yield "shuffled-packets.ts", ANY, shuffled(first)
    yield "packets-lost.ts", SHOWN, thinned(first)
    avi = no_index()["avi"]
    for name, scale, rate in (("zero", 1, 0), ("of-zero", 0, 25), ("million", 1, 10**6)):
        # Scale and rate are 20 bytes into the stream header.
        changed = at_box(avi, b"strh", 4 + 20, struct.pack("<II", scale, rate))
        yield f"rate-{name}.avi", SHOWN | UNREADABLE, changed
    yield "frames-2e32.avi", SHOWN, at_box(avi, b"avih", 4 + 16, b"\xff" * 4)
    yield "size-2e31.avi", OK | TOO_LARGE, at_box(avi, b"avih", 4 + 32, b"\xff\xff\xff\x7f" * 2)
    flv = no_index()["flv"]
    yield "tag-size-huge.flv", SHOWN | UNREADABLE, spliced(flv, 14, b"\xff\xff\xff")
    yield "times-huge.flv", SHOWN, spliced(flv, 17, b"\xff\xff\xff\x7f")


PACKET = 188
"""Bytes of a transport stream's packet."""


def shuffled(stream: bytes) -> bytes:
    packets = [stream[i : i + PACKET] for i in range(0, len(stream), PACKET)]
    random.Random(11).shuffle(packets)
    return b"".join(packets)


def thinned(stream: bytes) -> bytes:
    """One packet in twenty never arrived."""
    packets = [stream[i : i + PACKET] for i in range(0, len(stream), PACKET)]
    return b"".join(packet for i, packet in enumerate(packets) if i % 20 != 19)


GROUPS: list[Callable[[], Made]] = [
    no_videos,
    sounds,
    pointers,
    cuts,
    damaged,
    odd,
    turned,
    lying_mp4,
    lying_boxes,
    lying_matroska,
    giants,
    streams,
]
