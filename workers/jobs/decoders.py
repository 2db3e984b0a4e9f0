"""The decoder processes, as the settings want them, and what they are kept from."""

from pathlib import Path

from shared import telemetry
from shared.settings import Settings
from workers.video.isolation import FORBIDDEN, Isolation
from workers.video.limits import limits_of
from workers.video.pool import DecoderPool

log = telemetry.get_logger("jamak.decoder")


def decoders_of(settings: Settings, size: int, folder: Path | None) -> DecoderPool:
    return DecoderPool(
        size,
        limits_of(settings),
        settings.decoder_memory_mib << 20,
        folder,
        settings.require_isolation,
    )


def tell_isolation(found: Isolation) -> dict[str, str]:
    """Once, in the log and the metrics.

    Returns:
        What `/readyz` says of it: what is forbidden -> `refused` or `open`, and the user.
    """
    told = {what: "refused" if what in found.refused else "open" for what in FORBIDDEN}
    for what, state in told.items():
        telemetry.DECODER_REFUSES.labels(what).set(state == "refused")
    say = log.warning if found.missing else log.info
    say("decoders", user=found.user, why=found.why, **told)
    return {**told, "user": found.user}
