"""What the verbs that run until they are stopped share: their log is JSON from its first line."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared import telemetry
from shared.bucket.storage import ObjectStore
from shared.settings import Settings, load_settings
from shared.telemetry import tracing
from shared.telemetry.metrics import Role

log = telemetry.get_logger("jamak.settings")


@contextmanager
def running(role: Role) -> Iterator[tuple[Settings, ObjectStore]]:
    """Settings and the bucket. Who needs Redis connects to it: not all may, and have its address.

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
        yield settings, ObjectStore(outputs=settings.all_outputs)
