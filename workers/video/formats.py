"""What a file is, by its first bytes, in the words of whoever has it: for what cannot be opened.

Nothing here decides what is read. Knows nothing of FFmpeg.
"""

import re
from collections.abc import Callable, Collection

from shared.errors import NotAVideo, NoVideoStream, Truncated
from workers.video import encryption

HEAD_BYTES = 4096
"""So much of a file tells what it is."""
JPEG, JPEG_BYTES = b"\xff\xd8\xff", 1 << 22
"""Of what begins like that so much tells whether it is one picture, or a film of them."""

SOUNDS = {
    "mp3": rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xeb]",
    "mp2": rb"\xff[\xe4\xe5\xf4\xf5\xfc\xfd][\x10-\xeb]",
    "aac": rb"\xff[\xf0\xf1\xf8\xf9][\x40-\xbf]|ADIF",
    "wav": rb"(RIFF|RF64).{4}WAVE",
    "flac": rb"fLaC",
    "aiff": rb"FORM.{4}AIF[FC]",
    "amr": rb"#!AMR",
    "ape": rb"MAC ",
    "wv": rb"wvpk",
    "caf": rb"caff\x00\x01",
    "midi": rb"MThd\x00\x00\x00\x06",
    "dts": rb"\x7f\xfe\x80\x01",
    "au": rb"\.snd",
    "ac3": rb"\x0b\x77.{3}[\x40-\x5f]",
}
NOT_READ = {
    "rm": rb"\.RMF\x00",
    "swf": rb"[FCZ]WS[\x01-\x40]",
    "nut": rb"nut/multimedia container\x00",
    "wtv": rb"\xb7\xd8\x00\x20\x37\x49\xda\x11",
    "amv": rb"RIFF.{4}AMV ",
    "gxf": rb"\x00\x00\x00\x00\x01\xbc",
    "drc": rb"BBCD",
    "dav": rb"DHAV",
    "bik": rb"BIK[a-k]|KB2[a-k]",
    "smk": rb"SMK[24]",
    "r3d": rb".{4}RED[12V]",
    "mjpeg": rb"\xff\xd8\xff(?>.*?\xff\xd9\xff\xd8\xff){4}",
    "webp": rb"RIFF.{4}WEBPVP8X.{14}.*?ANIM",
}
"""Moving pictures that no demuxer of ours opens."""
PICTURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n(?!.{29}acTL)",
    "WebP": rb"RIFF.{4}WEBP",
    "BMP": rb"BM.{4}\x00\x00\x00\x00",
    "TIFF": rb"II\*\x00|MM\x00\*",
    "JPEG 2000": rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\x00\x00\x00\x0cJXL |\xff\x0a",
    "HEIC": rb".{4}ftyp(hei[cmsx]|mif[12])",
    "AVIF": rb".{4}ftypavif",
    "Photoshop": rb"8BPS\x00\x01",
}
DOCUMENTS = {
    "PDF": rb"%PDF-",
    "Office": rb"PK\x03\x04.{26}(\[Content_Types\]\.xml|mimetypeapplication/)"
    rb"|\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "RTF": rb"\{\\rtf",
}
ARCHIVES = {
    "ZIP": rb"PK(\x03\x04|\x05\x06)",
    "gzip": rb"\x1f\x8b\x08",
    "7z": rb"7z\xbc\xaf\x27\x1c",
    "RAR": rb"Rar!\x1a\x07",
    "bzip2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\x00",
    "zstd": rb"\x28\xb5\x2f\xfd",
    "tar": rb".{257}ustar",
}
PROGRAMS = {
    "ELF": rb"\x7fELF",
    "EXE": rb"MZ.[\x00\x01]",
    "Mach-O": rb"[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe",
}
TEXTS = {
    "lfs": rb"version https://git-lfs\.github\.com/spec/",
    "playlist": rb"#EXTM3U|\[playlist\]|ffconcat|<asx|"
    rb"(<\?xml[^>]*>\s*)?<(MPD|smil|playlist)",
    "page": rb"(<\?xml[^>]*>\s*)?<(!doctype html|html|head|body)",
    "subtitles": rb"WEBVTT|\d+\s+\d\d:\d\d:\d\d,\d\d\d -->|\[Script Info\]",
}
READ = {
    "mov": rb".{4}(moov|mdat|wide|skip|free|pnot|ftypqt)",
    "m4a": rb".{4}ftypM4[AB]",
    "3gp": rb".{4}ftyp3g",
    "mp4": rb".{4}(ftyp|moof|styp)",
    "webm": rb"\x1a\x45\xdf\xa3.{0,64}\x42\x82.{1,8}webm",
    "mkv": rb"\x1a\x45\xdf\xa3",
    "avi": rb"RIFF.{4}AVI ",
    "flv": rb"FLV\x01",
    "ogg": rb"OggS",
    "gif": rb"GIF8[79]a",
    "wmv": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "mxf": rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02",
    "mpg": rb"\x00\x00\x01\xba",
    "ts": rb"(\x47.{187}){4}|.{4}(\x47.{191}){4}",
    "apng": rb"\x89PNG\r\n\x1a\n",
    "flc": rb".{4}[\x11\x12]\xaf",
    "ivf": rb"DKIF",
    "y4m": rb"YUV4MPEG2",
}
"""What demuxers of ours open, unless it is damaged at its beginning."""
STILLS = frozenset(
    {"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1", "avif", "avis"}
)
"""Brands of an MP4 that may hold a picture, and need not have a track (ISO/IEC 23008-12)."""
INDEXED = frozenset({"mov", "m4a", "3gp", "mp4"})
"""They have an index, mostly at their end, without which nothing of them can be read."""
CODEC_BYTES = 1 << 18
CODECS = (rb"vmhd.{1,300}?stsd.{12}(.{4})", rb"\x86.(V_[!-~]+)", rb"strh.{4}vids(.{4})")
"""Where MP4, Matroska and AVI say how their pictures are coded."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

BY_ITS_PROGRAM = "Convert it to H.264 in an MP4 with the program that made it."
PICTURE = "a picture", "Filter pictures out: only what moves gets a caption."
_OTHERS = (
    (PICTURES, *PICTURE),
    (DOCUMENTS, "a document", "Filter such keys out."),
    (ARCHIVES, "an archive", "Unpack it, and upload the videos that are in it."),
    (PROGRAMS, "a program", "Filter such keys out."),
)
_TEXTS = {
    "lfs": (
        "a pointer of Git LFS, which stands for one",
        "Run `git lfs pull`, and upload the file itself.",
    ),
    "playlist": (
        "a playlist, which names some and holds none",
        "Upload the videos that it names, or filter this key out.",
    ),
    "page": (
        "a web page",
        "A server's answer was saved in place of the video: download it again.",
    ),
    "subtitles": ("a file of subtitles", "Filter such keys out."),
    "": ("a text", "Filter such keys out."),
}


def head_of(read: Callable[[int], bytes]) -> bytes:
    """What `why_unreadable` asks for.

    Args:
        read: so many of the first bytes.
    """
    head = read(HEAD_BYTES)
    return read(JPEG_BYTES) if head.startswith(JPEG) else head


def why_unreadable(name: str, head: bytes) -> NotAVideo | NoVideoStream | Truncated:
    """The error of a file that no demuxer of ours opens.

    Args:
        head: its first bytes, as `head_of` reads them.
    """
    facts = {"first_bytes": head[:12].hex()}
    if form := named(SOUNDS, head):
        return NoVideoStream(f"{name}: {form}: sound only", **facts)
    if form := named(NOT_READ, head):
        return NotAVideo(f"{name}: format {form} is not read here", cure=to_convert(form), **facts)
    for magics, what, cure in _OTHERS:
        if form := named(magics, head):
            return NotAVideo(f"{name} is no video but {what} ({form})", cure=cure, **facts)
    if not head.strip(b"\x00"):
        return NotAVideo(
            f"{name} holds zeros where a video begins",
            cure="It was lost on its way, or on the disk that it comes from. Upload it again.",
            **facts,
        )
    if form := named(READ, head):
        return _broken(name, form, facts)
    text = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    if _is_text(text):
        what, cure = _TEXTS[named(TEXTS, text)]
        return NotAVideo(f"{name} is no video but {what}", cure=cure, **facts)
    return NotAVideo(f"{name} is no video of a known format", **facts)


def why_cut(name: str) -> Truncated:
    return Truncated(f"{name} is cut: its index is not all there")


def why_no_pictures(
    name: str, head: bytes, opened_as: str, kinds: Collection[str], *, cover: bool
) -> NotAVideo | NoVideoStream | Truncated:
    """The error of a file that was opened and has no video track.

    Args:
        opened_as: how whoever opened it calls its format.
        kinds: what its tracks are: `audio`, `subtitle`, `data`.
        cover: it has the picture on a song's sleeve.
    """
    if not kinds:
        return why_unreadable(name, head)
    form = named(READ, head) or opened_as
    form = {"wmv": "wma"}.get(form, form) if kinds == {"audio"} else form
    if "audio" not in kinds:
        cure = "Filter such files out, or upload the picture too."
        return NoVideoStream(f"{name}: {form} without pictures or sound", cure=cure)
    return NoVideoStream(
        f"{name}: {form}: sound and a cover" if cover else f"{name}: {form}: sound only"
    )


def why_still(name: str, brand: str) -> NotAVideo:
    """The error of a file that is built like a video, and has no track but a picture or its tiles.

    Args:
        brand: one of `STILLS`.
    """
    what, cure = PICTURE
    form = "AVIF" if brand.startswith("avi") else "HEIC"
    return NotAVideo(f"{name} is no video but {what} ({form})", cure=cure)


def why_no_still(name: str, head: bytes) -> NotAVideo:
    """The error of what is to be a picture that stands alone, and is none that is read here."""
    form = named(PICTURES, head) or named(READ, head)
    what = f"is of format {form}, and" if form else "is"
    return NotAVideo(
        f"{name} {what} no image that is read here",
        cure="Save it as JPEG, PNG, WebP or BMP.",
        first_bytes=head[:12].hex(),
    )


def why_encrypted(name: str) -> NotAVideo:
    return NotAVideo(
        f"{name} is encrypted: its pictures can only be seen with a key",
        cure="Upload the film without its copy protection.",
    )


def why_undecodable(name: str, ends: bytes) -> NotAVideo:
    """The error of a file whose video track is in a codec that nothing here decodes.

    Args:
        ends: its first and last `CODEC_BYTES`, in one of which the code of that is.
    """
    found = next((one for magic in CODECS if (one := re.search(magic, ends, re.DOTALL))), None)
    code = found[1].decode("latin-1").strip("\0 ") if found else ""
    if code in encryption.CODES:
        return why_encrypted(name)
    which = f"codec {code}" if code.isprintable() and code else "its codec"
    return NotAVideo(
        f"{name}: {which} is not read here",
        cure=BY_ITS_PROGRAM,
    )


def to_convert(form: str) -> str:
    if form == "r3d":  # FFmpeg does not decode it, either
        return BY_ITS_PROGRAM
    if form == "webp":
        return "Convert it to MP4, with FFmpeg 9 or later: `ffmpeg -i VIDEO.webp VIDEO.mp4`."
    return f"Convert it to MP4, for example: `ffmpeg -i VIDEO.{form} VIDEO.mp4`."


def named(magics: dict[str, bytes], head: bytes) -> str:
    """Which of these formats begins like that; empty = none."""
    for form, magic in magics.items():
        if re.match(magic, head, re.DOTALL | re.IGNORECASE if magics is TEXTS else re.DOTALL):
            return form
    return ""


def _broken(name: str, form: str, facts: dict[str, str]) -> NotAVideo | Truncated:
    if form in INDEXED:
        return Truncated(f"{name} begins as {form} but its index is missing or broken", **facts)
    return NotAVideo(
        f"{name} begins as {form}, but is broken from there on",
        cure="Upload it again.",
        **facts,
    )


def _is_text(head: bytes) -> bool:
    """In UTF-8; its last character may be cut."""
    words = head.decode("utf-8", errors="ignore")
    whole = len(words.encode()) > len(head) - 4
    return whole and all(letter.isprintable() or letter.isspace() for letter in words)
