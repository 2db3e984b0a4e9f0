"""Which of a file's picture tracks is the film: previews, proxies and still pictures are not.

Knows only what the container says of its tracks; whether one decodes is tried by whoever opens it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from av.stream import Disposition

NEVER = Disposition.attached_pic | Disposition.timed_thumbnails
"""The picture on a song's sleeve is a video stream to FFmpeg, and so are a film's chapter marks."""
ALONE = "the only one"


@dataclass(frozen=True)
class Track:
    """The picture track that was taken."""

    index: int
    """Among the file's picture tracks, from 0: as in ffmpeg's `-map 0:v:1`."""
    of: int
    """So many picture tracks the file has, covers and thumbnails counted."""
    reason: str


ONLY = Track(0, 1, ALONE)


@dataclass(frozen=True)
class Candidate:
    stream: Any
    index: int
    """As of a `Track`."""
    decodable: bool
    moves: bool
    default: bool
    pixels: int

    @property
    def worth(self) -> tuple[bool, bool, bool, int]:
        return self.decodable, self.moves, self.default, self.pixels


REASONS = (
    "the only one that can be decoded here",
    "the others are single pictures",
    "the file's default",
    "the largest picture",
)
"""Of each part of `worth`: in it a track first differs from the next best one."""


def candidates(streams: Sequence[Any], max_pixels: int) -> list[Candidate]:
    """The best first: one that can be decoded, that is more than a single picture, that the file
    marks as its default (an MP4: as enabled), that is the largest, that comes first.

    Args:
        streams: the file's picture tracks, in its order.
        max_pixels: of a picture; a larger one is not decoded here.
    """
    found = []
    for index, stream in enumerate(streams):
        if stream.disposition & NEVER:
            continue
        context = stream.codec_context
        pixels = context.width * context.height if context is not None else 0
        found.append(
            Candidate(
                stream,
                index,
                decodable=context is not None and pixels <= max_pixels,
                # Only an MP4 says how many pictures there are; 0: unknown.
                moves=stream.frames != 1,
                default=bool(stream.disposition & Disposition.default),
                pixels=pixels,
            )
        )
    return sorted(found, key=lambda one: one.worth, reverse=True)


def why(taken: Candidate, rivals: Sequence[Candidate]) -> str:
    """What sets the one that was taken apart from the best of the others."""
    if not rivals:
        return ALONE
    best = max(rivals, key=lambda one: one.worth)
    for ours, theirs, reason in zip(taken.worth, best.worth, REASONS, strict=True):
        if ours != theirs:
            return reason if ours > theirs else REASONS[0]
    return "the first"
