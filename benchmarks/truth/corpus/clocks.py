"""Where a film's clock begins, starts again, or jumps; and indexes that hold other times."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.truth.corpus.codecs import Q2, THEORA, VP9, X264, X265
from benchmarks.truth.corpus.plain import plain
from benchmarks.truth.films import Film, evenly
from benchmarks.truth.studio import Studio

MPEG2 = ("-c:v", "mpeg2video", *Q2)
JOINED = evenly(60, 25)
LONG_S = 3600


def joined(
    name: str,
    codec: Sequence[object],
    *,
    first: Sequence[object] = (),
    second: Sequence[object] = (),
    skip: int = 0,
    kind: str = "joined",
    slack_s: float = 0.0025,
) -> Film:
    """Two recordings, one after the other in one file.

    Args:
        skip: so many bytes of the second one are its header.
    """

    def make(studio: Studio, path: Path) -> None:
        parts = []
        for number, more in enumerate((first, second)):
            part = studio.part(f"part{number}-{name}")
            pictures = studio.pictures(30, 25, first=30 * number, scenes=(number,))
            studio.ffmpeg(*pictures, *codec, *more, part)
            parts.append(part.read_bytes()[skip * number :])
        path.write_bytes(b"".join(parts))

    return Film(kind, name, make, JOINED, cuts_s=(1.2,), joined=True, slack_s=slack_s)


def jumps(name: str, *codec: object, by_s: float = LONG_S) -> Film:
    """Forward, in the midst of a file that one program wrote."""

    def make(studio: Studio, path: Path) -> None:
        pictures = studio.pictures(60, 25, scenes=(0,) * 30 + (1,) * 30)
        studio.ffmpeg(*pictures, *codec, "-g", 30, "-bf", 0, "-bsf:v", f"setts={_jump(by_s)}", path)

    return Film("jump", name, make, JOINED, cuts_s=(1.2,), joined=True, slack_s=0.0025)


def _jump(by_s: float) -> str:
    def moved(time: str) -> str:
        return f"{time.lower()}='if(gte({time}*TB,1.19),{time}+{by_s}/TB,{time})'"

    return f"{moved('PTS')}:{moved('DTS')}"


def restarts(name: str, *codec: object) -> Film:
    """A Matroska whose clusters' clock begins again."""

    def make(studio: Studio, path: Path) -> None:
        whole = studio.part(name)
        pictures = studio.pictures(60, 25, scenes=(0,) * 30 + (1,) * 30)
        keys = ("-force_key_frames", "1.2", "-bf", 0)
        studio.ffmpeg(*pictures, *codec, *keys, "-cluster_time_limit", 1199, whole)
        data = bytearray(whole.read_bytes())
        for match in re.finditer(rb"\x1f\x43\xb6\x75.{1,8}?\xe7([\x81-\x88])", bytes(data), re.S):
            size = match[1][0] & 0x0F
            place = slice(match.end(), match.end() + size)
            time = int.from_bytes(data[place], "big")
            if time >= 1200:
                data[place] = (time - 1200).to_bytes(size, "big")
        path.write_bytes(data)

    return Film("joined", name, make, JOINED, cuts_s=(1.2,), joined=True, slack_s=0.0025)


def begins_at(name: str, *codec: object, at_s: float, kind: str = "late clock") -> Film:
    return plain(kind, name, *codec, "-output_ts_offset", at_s, frames=60)


def cut_out(name: str, *codec: object, before: bool) -> Film:
    """Copied from the 12th frame on, by an edit list where the container has one."""

    def make(studio: Studio, path: Path) -> None:
        whole = studio.part(f"whole-{name}")
        studio.ffmpeg(*studio.pictures(60, 25), *codec, "-g", 60, whole)
        place = ("-ss", "0.48")
        studio.ffmpeg(
            *(place if before else ()), "-i", whole, *(() if before else place), "-c", "copy", path
        )

    return Film("edit list", name, make, evenly(48, 25, first=12))


def packed(name: str, fps: str, frames: int) -> Film:
    """Of two B frames one is packed with the frame before. The encoder forgets what it still holds
    at the end: the last but one, and what would come after. The file has their places."""
    film = plain(
        "packed bitstream", name, "-c:v", "libxvid", "-bf", "2", *Q2, fps=fps, frames=frames
    )
    kept = frames - 2
    numbers = (*range(kept - 1), kept)
    return replace(
        film, shown=replace(evenly(kept, float(fps), held_s=2 / float(fps)), numbers=numbers)
    )


PYRAMID = "bframes=3:b-adapt=0:b-pyramid=normal"
OFFSET = ("-output_ts_offset",)
FILMS = [
    joined("joined.ts", X264),
    joined("joined-hevc.ts", X265),
    joined("joined-mpeg2.ts", MPEG2),
    joined("joined-forward.ts", X264, second=(*OFFSET, LONG_S)),
    joined("joined-back.ts", X264, first=(*OFFSET, LONG_S)),
    joined("joined-overlapping.ts", X264, second=(*OFFSET, 0.4)),
    joined("joined-signalled.ts", X264, second=("-mpegts_flags", "initial_discontinuity")),
    joined(
        "joined-forward-signalled.ts",
        X264,
        second=(*OFFSET, LONG_S, "-mpegts_flags", "initial_discontinuity"),
    ),
    joined("joined.mpg", MPEG2, first=("-f", "vob"), second=("-f", "vob")),
    joined("joined-mpeg1.mpg", ("-c:v", "mpeg1video", *Q2)),
    joined("joined-forward.vob", MPEG2, second=(*OFFSET, LONG_S)),
    joined("joined-back.vob", (*MPEG2, "-bf", "2"), first=(*OFFSET, LONG_S)),
    joined("joined.flv", X264, skip=13),
    joined("joined-flv1.flv", ("-c:v", "flv", *Q2), skip=13),
    joined("chained.ogv", THEORA, second=("-serial_offset", "7"), kind="chained Ogg"),
    joined("chained-same.ogv", THEORA, kind="chained Ogg"),
    joined("joined.h264", X264),
    joined("joined.hevc", X265),
    joined("joined.mkv", X264),
    restarts("restarts.mkv", *X264),
    restarts("restarts.webm", *VP9),
    jumps("jumps.mkv", *X264),
    jumps("jumps.webm", *VP9),
    jumps("jumps.flv", *X264),
    jumps("jumps.ts", *X264),
    jumps("jumps.vob", *MPEG2),
    jumps("jumps.wmv", "-c:v", "wmv2", *Q2),
    begins_at("ten-hours.ts", *X264, at_s=36000),
    begins_at("ten-hours.mkv", *X264, at_s=36000),
    begins_at("ten-hours.mpg", *MPEG2, "-f", "vob", at_s=36000),
    begins_at("ten-hours.flv", *X264, at_s=36000),
    begins_at("wrap.ts", *X264, at_s=95441.2, kind="clock wraps"),
    begins_at("wrap.vob", *MPEG2, at_s=95442.2, kind="clock wraps"),
    cut_out("cut-before.mp4", *X264, before=True),
    cut_out("cut-before-no-b.mp4", *X264, "-bf", 0, before=True),
    cut_out("cut-before.mov", *X264, before=True),
    cut_out("cut-before-hevc.mp4", *X265, before=True),
    *(
        plain(
            "AVI with B frames",
            f"avi-b-{fps}.avi",
            "-c:v",
            "mpeg4",
            "-bf",
            "2",
            *Q2,
            fps=fps,
            frames=frames,
        )
        for fps, frames in (("1", 12), ("25", 50))
    ),
    plain("AVI with B frames", "avi-h264.avi", *X264, frames=50),
    plain("AVI with B frames", "avi-h264-slow.avi", *X264, fps="2", frames=20),
    plain("AVI with B frames", "avi-mpeg2.avi", *MPEG2, "-bf", "2"),
    packed("packed.avi", "25", 50),
    packed("packed-slow.avi", "2", 20),
    *(
        plain("low rate", f"slow-{name}{more}.{end}", *X264, *how, fps=fps, frames=14)
        for name, fps in (("1", "1"), ("2-s", "1/2"), ("10-s", "1/10"))
        for more, how in (("", ("-bf", 0)), ("-b", ("-x264-params", PYRAMID)))
        for end in ("mkv", "mp4", "ts")
    ),
    plain("low rate", "slow-hevc.mkv", *X265, fps="1/5", frames=14),
    plain("low rate", "slow.mov", *X264, fps="1/5", frames=14),
    plain("low rate", "slow.flv", *X264, fps="1/5", frames=14),
    plain("low rate", "slow.webm", *VP9, fps="1/5", frames=14),
    plain("low rate", "slow-mpeg4.mkv", "-c:v", "mpeg4", "-bf", "2", *Q2, fps="1", frames=14),
]
