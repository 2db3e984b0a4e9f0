"""What the verbs that run until they are stopped share: their log is JSON from its first line."""

from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.storage import ObjectStore
from shared.settings import Settings, load_settings

log = telemetry.get_logger("jamak.settings")


def started() -> tuple[Settings, ObjectStore, LeasedQueues]:
    """Settings, the bucket and the caption queues. Raises ConfigError."""
    unknown: list[str] = []
    settings = load_settings(unknown.append)
    telemetry.configure_logging(settings.log_level)
    for warning in unknown:
        log.warning(warning)
    return settings, ObjectStore(), leased_queues(settings, caption_prefix(settings))
