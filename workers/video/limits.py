"""How much one video may take.

Needs none of the libraries that decode. Decoders need it, and none of those that read settings.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.settings import Settings


@dataclass(frozen=True)
class Limits:
    max_pixels: int = 4096 * 2304
    deadline_s: float = 300.0
    """Wall time for one request, without waiting for bytes."""
    cpu_s: float = 120.0
    max_bytes: int = 4 * 2**30
    """Of one video, read. From a larger one only what its index points at."""
    max_decoded: int = 500_000
    """Frames, for one request."""
    scan_pixels: int = 4_000_000_000
    """Frames times their size, of a video that is looked at from end to end: half an hour of
    360p, a minute of 1080p; about 20 s of computing."""


def limits_of(settings: "Settings") -> Limits:
    return Limits(
        max_pixels=settings.max_pixels,
        deadline_s=settings.decode_deadline_s,
        cpu_s=settings.decode_cpu_s,
        max_bytes=settings.max_video_bytes,
        max_decoded=settings.max_decoded_frames,
    )
