"""The films, by theme."""

from benchmarks.truth.corpus import clocks, lengths, plain

FILMS = [*plain.FILMS, *lengths.FILMS, *clocks.FILMS]
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
        "slow-1.mkv",
        "joined.ts",
        "chained.ogv",
    }
)
"""Of one film of each large theme, the file."""
