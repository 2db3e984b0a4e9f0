"""Files that are none: other formats, sounds, and files that name other files."""

import gzip
import io
import struct
import zipfile

from tests.hostile.contents import good, image, noise, plain, spliced
from tests.hostile.expected import NO_VIDEO_STREAM, NOT_A_VIDEO, OK, UNREADABLE, Made
from tests.hostile.files import (
    box,
    element,
    encoded,
    mp4,
    numbers,
    sound,
)
from tests.hostile.pictures import heic


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
    yield "photo.heic", NOT_A_VIDEO, heic()
    yield "photo.avif", NOT_A_VIDEO, encoded("avif", "libsvtav1", 1, options={"preset": "12"})
    yield "program.so", NOT_A_VIDEO, b"\x7fELF\2\1\1" + noise(1 << 12, 4)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def sounds() -> Made:
    yield "sound.mp4", NO_VIDEO_STREAM, sound("mp4", "aac")
    yield "sound.wav", NO_VIDEO_STREAM, sound("wav", "pcm_s16le")
    yield "sound.flac", NO_VIDEO_STREAM, sound("flac", "flac")
    yield "sound.ogg", NO_VIDEO_STREAM, sound("ogg", "libopus")
    yield "sound.mka", NO_VIDEO_STREAM, sound("matroska", "aac")
    yield "sound.ts", NO_VIDEO_STREAM, sound("mpegts", "aac")
    yield "sound.mp2", NO_VIDEO_STREAM, sound("mp2", "mp2")
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
