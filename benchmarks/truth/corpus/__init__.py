"""The films, by theme."""

from benchmarks.truth.corpus import (
    clocks,
    colours,
    lengths,
    missing,
    others,
    packing,
    plain,
    shapes,
    tracks,
)

FILMS = [
    *plain.FILMS,
    *lengths.FILMS,
    *clocks.FILMS,
    *missing.FILMS,
    *others.FILMS,
    *tracks.FILMS,
    *shapes.FILMS,
    *colours.FILMS,
    *packing.FILMS,
]
QUICK = frozenset(
    {
        "h264.mp4",
        "h264.ts",
        "h264.h264",
        "vp9.webm",
        "wmv2.wmv",
        "plain.gif",
        "dv.dv",
        "held-b.mkv",
        "one.mp4",
        "uneven-b.mp4",
        "avi-h264.avi",
        "slow-10-s-b.mkv",
        "every-15th.ts",
        "joined.ts",
        "chained.ogv",
        "proxy-first.mp4",
        "pal-wide.mpg",
        "clap.mp4",
        "turned-90-libx264.mp4",
        "pq.mp4",
        "interlaced.ts",
    }
)
"""Of one film of each large theme, the file."""
