"""Films among other pictures: thumbnails, proxies, covers, previews, second programs."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.truth.corpus.codecs import Q2, VP9, X264, X265
from benchmarks.truth.films import Film, evenly
from benchmarks.truth.studio import Studio

FRAMES, PROXY = 30, 500
"""A proxy's pictures have other numbers."""
DEFAULT_2 = ("-disposition:v:0", "0", "-disposition:v:1", "default")
JPEG = ("-c:v:0", "mjpeg", "-pix_fmt:v:0", "yuvj420p")


def two(
    name: str,
    *codec: object,
    other: int = FRAMES,
    other_rate: object = 25,
    other_size: tuple[int, int] = (160, 96),
    film_first: bool = False,
) -> Film:
    """Args:
    other: frames of what is not the film.
    """

    def make(studio: Studio, path: Path) -> None:
        beside = studio.pictures(other, other_rate, size=other_size, first=PROXY, scenes=(2,))
        film = studio.pictures(FRAMES)
        order = ("1:v", "0:v") if film_first else ("0:v", "1:v")
        studio.ffmpeg(*beside, *film, "-map", order[0], "-map", order[1], *codec, path)

    return Film("tracks", name, make, evenly(FRAMES, 25), slack_s=0.002)


def with_cover(name: str, *codec: object) -> Film:
    """Attached, as programs for Matroska do it."""

    def make(studio: Studio, path: Path) -> None:
        cover = studio.part("cover.jpg")
        studio.ffmpeg(*studio.pictures(1, first=PROXY, scenes=(2,)), "-pix_fmt", "yuvj420p", cover)
        told = ("-attach", cover, "-metadata:s:t", "mimetype=image/jpeg")
        studio.ffmpeg(*studio.pictures(FRAMES), *codec, *told, path)

    return Film("tracks", name, make, evenly(FRAMES, 25), slack_s=0.002)


def among(name: str, maps: Sequence[object], *codec: object) -> Film:
    """Beside sound and text."""

    def make(studio: Studio, path: Path) -> None:
        text = studio.part("text.srt")
        text.write_text("1\n00:00:00,000 --> 00:00:09,000\nfilm\n")
        sound = ("-f", "lavfi", "-i", "sine=duration=3")
        studio.ffmpeg(*sound, "-i", text, *studio.pictures(FRAMES), *maps, *codec, path)

    return Film("tracks", name, make, evenly(FRAMES, 25), slack_s=0.002)


SMALL = (80, 48)
SOUND = ("-map", "0:a", "-map", "2:v")
TEXT = ("-map", "1:s", *SOUND)
FILMS = [
    two("thumbnail-first.mp4", *X264, *JPEG, *DEFAULT_2, other=1, other_size=SMALL),
    two("thumbnail-first.mov", *X264, *JPEG, *DEFAULT_2, other=1, other_size=SMALL),
    two("thumbnail-first.mkv", *X264, *JPEG, *DEFAULT_2, other=1, other_size=SMALL),
    *(two(f"proxy-first.{end}", *X264, *DEFAULT_2) for end in ("mp4", "mov", "mkv")),
    two("proxy-first-hevc.mp4", *X265, *DEFAULT_2),
    two("proxy-first.webm", *VP9, *DEFAULT_2),
    two("proxy-second.mp4", *X264, film_first=True),
    two("proxy-second.mkv", *X264, film_first=True),
    two("small-second.ts", *X264, film_first=True, other_size=SMALL),
    two("cover.mp4", *X264, *JPEG, "-disposition:v:0", "attached_pic", other=1),
    with_cover("cover.mkv", *X264),
    two(
        *("preview-program.ts", *X264, "-program", "program_num=1:title=preview:st=0"),
        *("-program", "program_num=2:title=film:st=1"),
        other=3,
        other_rate=1,
        other_size=SMALL,
    ),
    among("sound-first.mp4", ("-map", "0:a", "-map", "2:v"), *X264),
    among("text-first.mkv", ("-map", "1:s", "-map", "0:a", "-map", "2:v"), *X264),
    among(
        "text-first.mp4", ("-map", "1:s", "-map", "0:a", "-map", "2:v"), *X264, "-c:s", "mov_text"
    ),
    among(
        "sound-first.mpg", ("-map", "0:a", "-map", "2:v"), "-c:v", "mpeg2video", *Q2, "-f", "vob"
    ),
    among("timecode.mov", ("-map", "2:v", "-map", "0:a"), *X264, "-timecode", "01:00:00:00"),
]
