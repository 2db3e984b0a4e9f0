"""Whether traces are wanted, and the way to them: the door that everybody else goes through.

They are where OpenTelemetry's own variables name a collector (OTEL_EXPORTER_OTLP_ENDPOINT) and its
SDK is installed (the extra `tracing`). Otherwise nothing of it is imported, and nothing is done.
"""

import atexit
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from shared.errors import ConfigError
from shared.telemetry.logs import configure_logging, get_logger
from shared.telemetry.repeated import Repeated

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from shared.telemetry.spans import Spans

Value = str | int | float | bool | Sequence[str]
Facts = Mapping[str, Value]
"""Attributes of a span."""
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_S = 1.0
"""At the end of a process, for spans that are not exported yet: a collector may be away."""
WORKER_FLUSH_S = 5.0
"""At a worker's end, which hands over what its last jobs were: nobody waits for its prompt."""

log = get_logger("jamak.tracing")


class _State:
    spans: "Spans | None" = None
    provider: "TracerProvider | None" = None
    decided = False


_state, _lock = _State(), threading.Lock()
_fails = Repeated(log, "traces are told again")


def wanted(environ: Mapping[str, str]) -> bool:
    exporter = environ.get("OTEL_TRACES_EXPORTER", "")
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(environ.get(name) for name in ENDPOINTS)


def start(role: str) -> None:
    """Once in a process; afterwards `spans` is known.

    Args:
        role: what it is, for people: `service.name` is `jamak-<role>`, or as a variable says.
    """
    with _lock:
        if _state.decided:
            return
        _state.decided = True
        if not wanted(os.environ):
            return
        if not structlog.is_configured():
            configure_logging("warning")  # a command's answer is on stdout, and nothing else
        try:
            from shared.telemetry.trace_export import exported
        except ImportError as error:
            cure = "pip install 'jamak[tracing]', or unset OTEL_EXPORTER_OTLP_ENDPOINT."
            log.warning("no traces", message=str(error), cure=cure)
            return
        try:
            _state.provider, _state.spans = exported(role, os.environ)
        except ConfigError as error:
            log.warning("no traces", message=str(error), cure=error.cure)
            return
        atexit.register(stop)
    log.info("traces", role=role)


def spans() -> "Spans | None":
    """None: nobody wants any. Who has not said what it is is a command."""
    if not _state.decided:
        start("command")
    return _state.spans


def stop(within_s: float = FLUSH_S) -> None:
    """Hand over what is left, if that takes no longer. Nothing is traced any more."""
    with _lock:
        provider, _state.provider, _state.spans = _state.provider, None, None
    if provider is None:
        return
    # The SDK's own flush takes as long as the collector does.
    flush = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
    flush.start()
    flush.join(within_s)


@contextmanager
def harmless() -> Iterator[None]:
    """Around what a worker tells: whatever is wrong with it, the job goes on."""
    try:
        yield
    except Exception as error:
        _fails.failed("a trace is lost", about=type(error).__name__, message=repr(error))


@contextmanager
def sending(
    queue: str, jobs: Iterable[tuple[str, str]], happened_s: Iterable[float | None] = ()
) -> Iterator[Sequence[Mapping[str, str]]]:
    """Headers for the messages of these jobs; none at all if nothing is traced.

    Args:
        jobs: id and what it is about, as people call it.
        happened_s: when, since 1970, what each of the first jobs is sent for; None: at once.
    """
    tracer = spans()
    if tracer is None:
        yield ()
        return
    with tracer.sending(queue, jobs, happened_s) as headers:
        yield headers
