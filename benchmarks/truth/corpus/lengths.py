"""How long frames stay: held last ones, single ones, uneven rates, sound of another length."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.truth.corpus.codecs import AV1, VP8, VP9, X264, X265
from benchmarks.truth.films import ANY, NOTHING, Film, Shown, at_times, evenly
from benchmarks.truth.painting import BLACK
from benchmarks.truth.studio import Studio, held, timed

UNEVEN = (0, 0.04, 0.08, 0.28, 0.32, 0.5, 0.9, 0.94, 0.98, 1.02, 1.6, 1.64, 2.0, 2.5, 2.54, 2.58)
SLIDES = (0, 3, 6, 9, 15, 18)
RECORDING = (*(i * 0.5 for i in range(24)), 40.0, 41.0, 900.0, 2700.0, 3100.0)
"""A screen on which little happens."""
NO_B = ("-bf", "0")
SOUND = ("-f", "lavfi", "-i")


def last_held(name: str, *codec: object, frames: int = 10, until_s: float = 21.0) -> Film:
    def make(studio: Studio, path: Path) -> None:
        last = (frames - 1) / 10
        studio.ffmpeg(
            *studio.pictures(frames, 10), *codec, *held(path, frames, last, until_s), path
        )

    shown = evenly(frames, 10, held_s=until_s - frames / 10)
    return Film("held last frame", name, make, shown)


def one_frame(name: str, *codec: object, lasts: int = 10, slack_s: float = 0.0015) -> Film:
    def make(studio: Studio, path: Path) -> None:
        studio.ffmpeg(*studio.pictures(1, f"1/{lasts}"), *codec, path)

    return Film("one frame", name, make, evenly(1, 1 / lasts), slack_s=slack_s)


def uneven(
    kind: str,
    name: str,
    *codec: object,
    times_s: Sequence[float] = UNEVEN,
    ends_s: float = 2.9,
    slack_s: float = 0.0015,
    open_s: float = 0.0,
) -> Film:
    def make(studio: Studio, path: Path) -> None:
        pictures = studio.pictures(len(times_s))
        stays = held(path, len(times_s), times_s[-1], ends_s)
        studio.ffmpeg(*pictures, *timed(times_s), *stays, *codec, path)

    return Film(kind, name, make, at_times(times_s, ends_s), slack_s=slack_s, open_s=open_s)


def gif_times(name: str, times_s: Sequence[float], ends_s: float, *more: object) -> Film:
    """The muxer of GIF takes the last delay apart."""

    def make(studio: Studio, path: Path) -> None:
        delay = round((ends_s - times_s[-1]) * 100)
        place = timed(times_s)
        place[-1] = "1:100"
        studio.ffmpeg(
            *studio.pictures(len(times_s)), *place, "-final_delay", delay, "-loop", -1, *more, path
        )

    return Film("GIF", name, make, at_times(times_s, ends_s), slack_s=0.005)


def with_sound(
    name: str, *codec: object, sound_s: float, late_s: float = 0, kind: str = "other sound"
) -> Film:
    """Args:
    late_s: so much after the sound the picture begins.
    """

    def make(studio: Studio, path: Path) -> None:
        sound = (*SOUND, f"sine=frequency=440:duration={sound_s}")
        moved = ("-itsoffset", late_s) if late_s else ()
        pictures = studio.pictures(30)
        studio.ffmpeg(*sound, *moved, *pictures, "-map", "1:v", "-map", "0:a", *codec, path)

    return Film(kind, name, make, evenly(30, 25), slack_s=0.002)


FILMS = [
    last_held("held.mp4", *X264, *NO_B),
    last_held("held-b.mp4", *X264),
    last_held("held.mov", *X264),
    last_held("held.mkv", *X264, *NO_B),
    last_held("held-b.mkv", *X264),
    last_held("held-hevc.mp4", *X265),
    last_held("held.webm", *VP9),
    last_held("held-vp8.webm", *VP8),
    last_held("held-av1.mp4", *AV1),
    last_held("held-fragmented.mp4", *X264, "-movflags", "frag_keyframe+empty_moov"),
    gif_times("held.gif", (0, 0.1, 0.2, 0.3, 0.4, 0.5), 5.5),
    one_frame("one.mp4", *X264),
    one_frame("one.mkv", *X264),
    one_frame("one.webm", *VP9),
    one_frame("one.mov", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    one_frame("one-hevc.mp4", *X265),
    one_frame("one-fragmented.mp4", *X264, "-movflags", "frag_keyframe+empty_moov"),
    gif_times("one.gif", (0,), 10.0),
    uneven("uneven rate", "uneven.mp4", *X264, *NO_B),
    uneven("uneven rate", "uneven-b.mp4", *X264),
    uneven("uneven rate", "uneven-hevc.mp4", *X265),
    uneven("uneven rate", "uneven.mkv", *X264),
    uneven("uneven rate", "uneven.webm", *VP9),
    uneven("uneven rate", "uneven.mov", *X264),
    uneven("uneven rate", "uneven-av1.mp4", *AV1),
    uneven(
        "uneven rate", "uneven-fragmented.mp4", *X264, "-movflags", "frag_every_frame+empty_moov"
    ),
    gif_times("uneven.gif", (0, 0.1, 0.12, 0.5, 0.55, 2.0), 2.5),
    uneven("slides", "slides.mp4", *X264, times_s=SLIDES, ends_s=25),
    uneven("slides", "slides.mkv", *X264, times_s=SLIDES, ends_s=25),
    uneven("slides", "slides.webm", *VP9, times_s=SLIDES, ends_s=25),
    uneven("long screen recording", "screen.mp4", *X264, times_s=RECORDING, ends_s=3600),
    uneven("long screen recording", "screen.mkv", *X264, times_s=RECORDING, ends_s=3600),
    uneven("long screen recording", "screen.webm", *VP8, times_s=RECORDING, ends_s=3600),
    with_sound("long-sound.mp4", *X264, sound_s=30),
    with_sound("long-sound.mkv", *X264, sound_s=30),
    with_sound("long-sound.ts", *X264, sound_s=30),
    with_sound("long-sound.flv", *X264, "-c:a", "aac", sound_s=30),
    with_sound("long-sound.wmv", "-c:v", "wmv2", "-q:v", "2", sound_s=30),
    with_sound("long-sound.avi", "-c:v", "mpeg4", "-q:v", "2", "-c:a", "pcm_s16le", sound_s=30),
    with_sound("long-sound.mpg", "-c:v", "mpeg2video", "-q:v", "2", "-f", "vob", sound_s=30),
    with_sound("long-sound.ogv", "-c:v", "libtheora", "-q:v", "9", "-c:a", "libvorbis", sound_s=30),
    with_sound("short-sound.mp4", *X264, sound_s=0.3),
    with_sound("short-sound.mkv", *X264, sound_s=0.3),
    *(
        with_sound(f"late.{end}", *codec, sound_s=10, late_s=5, kind="late start")
        for end, codec in (
            ("mp4", X264),
            ("mkv", X264),
            ("mov", X264),
            ("ts", X264),
            ("flv", (*X264, "-c:a", "aac")),
            ("webm", (*VP9, "-c:a", "libopus")),
            ("wmv", ("-c:v", "wmv2", "-q:v", "2")),
            ("mpg", ("-c:v", "mpeg2video", "-q:v", "2", "-f", "vob")),
            ("ogv", ("-c:v", "libtheora", "-q:v", "9", "-c:a", "libvorbis")),
        )
    ),
]


def _scenes(
    kind: str, name: str, scenes: tuple[int, ...], cuts_s: tuple[float, ...], *codec: object
) -> Film:
    def make(studio: Studio, path: Path) -> None:
        studio.ffmpeg(*studio.pictures(len(scenes), 25, scenes=scenes), *codec, path)

    shown = evenly(len(scenes), 25)
    numbers = tuple(NOTHING if scene == BLACK else i for i, scene in enumerate(scenes))
    black = BLACK in scenes
    return Film(
        kind, name, make, Shown(shown.times_s, numbers, shown.ends_s), cuts_s=cuts_s, no_black=black
    )


def _fade(name: str, *codec: object) -> Film:
    """To black and into the next scene; bars in the dark cannot be read."""

    def make(studio: Studio, path: Path) -> None:
        dark = "fade=out:start_frame=40:nb_frames=20:enable='lt(n,60)',"
        dark += "fade=in:start_frame=60:nb_frames=20:enable='gte(n,60)'"
        pictures = studio.pictures(120, 25, scenes=(0,) * 60 + (2,) * 60)
        studio.ffmpeg(*pictures, "-vf", dark, *codec, path)

    shown = evenly(120, 25)
    numbers = tuple(i if i < 45 or i > 75 else ANY for i in shown.numbers)
    return Film("fade", name, make, replace(shown, numbers=numbers), cuts_s=(2.4,))


CUT = ((0,) * 50 + (1,) * 50 + (2,) * 50, (2.0, 4.0))
GAP = ((0,) * 60 + (BLACK,) * 12 + (3,) * 60, (2.64,))
FILMS += [
    _fade("fade.mp4", *X264),
    _fade("fade.webm", *VP9),
    *(
        _scenes("hard cuts", f"cuts.{end}", *CUT, *codec)
        for end, codec in (("mp4", X264), ("webm", VP9), ("ts", X264))
    ),
    *(
        _scenes("black gap", f"gap.{end}", *GAP, *codec)
        for end, codec in (("mp4", X264), ("mkv", X265))
    ),
]
