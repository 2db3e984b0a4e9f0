"""What the verbs that run until they are stopped share: their log is JSON from its first line."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.storage import ObjectStore
from shared.settings import Settings, load_settings
from shared.telemetry import tracing
from shared.telemetry.metrics import Role

log = telemetry.get_logger("jamak.settings")


@contextmanager
def running(role: Role) -> Iterator[tuple[Settings, ObjectStore, LeasedQueues]]:
    """Settings, the bucket and the caption queues.

    Raises:
        SystemExit: what has to be configured first is the last line of the log.
    """
    unknown: list[str] = []
    telemetry.log_everything("info")
    with telemetry.refusing():
        settings = load_settings(unknown.append)
        telemetry.log_everything(settings.log_level)
        for warning in unknown:
            log.warning(warning)
        tracing.start(role)
        store = ObjectStore(outputs=settings.all_outputs)
        yield settings, store, leased_queues(settings, caption_prefix(settings))
