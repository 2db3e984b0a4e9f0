"""The decoder processes, as the settings want them."""

from pathlib import Path

from shared.settings import Settings
from workers.video.pool import DecoderPool
from workers.video.sampling import Limits


def decoders_of(settings: Settings, size: int, folder: Path | None) -> DecoderPool:
    limits = Limits(
        max_pixels=settings.max_pixels,
        deadline_s=settings.decode_deadline_s,
        cpu_s=settings.decode_cpu_s,
        max_bytes=settings.max_video_bytes,
        max_decoded=settings.max_decoded_frames,
    )
    return DecoderPool(size, limits, settings.decoder_memory_mib << 20, folder)
