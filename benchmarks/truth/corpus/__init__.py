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
        "held-b.mkv",
        "one.mp4",
        "uneven-b.mp4",
        "avi-h264.avi",
        "slow-10-s-b.mkv",
        "joined.ts",
        "chained.ogv",
    }
)
"""Of one film of each large theme, the file."""
