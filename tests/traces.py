"""What a process tells a collector, without one: its spans, as they ended."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry import tracing
from shared.telemetry.trace_export import exported_by


class Told:
    def __init__(self, role: str, environ: dict[str, str]) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider, self.traced = exported_by(self._exporter, role, environ)

    def spans(self) -> list[ReadableSpan]:
        self.provider.force_flush()
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """In the order in which they began."""
        found = [one for one in self.spans() if one.name == name]
        return sorted(found, key=lambda one: one.start_time or 0)

    def only(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found


@contextmanager
def tracing_here(role: str = "test") -> Iterator[Told]:
    """In the block, this process traces all; by the real SDK."""
    told = Told(role, {})
    state = tracing._state
    before = state.provider, state.spans, state.decided
    state.provider, state.spans, state.decided = told.provider, told.traced, True
    try:
        yield told
    finally:
        state.provider, state.spans, state.decided = before
        told.provider.shutdown()


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Trace and span."""
    return span.context.trace_id, span.context.span_id


def parent_of(span: ReadableSpan) -> int:
    return span.parent.span_id if span.parent else 0


def links_of(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(one.context.trace_id, one.context.span_id) for one in span.links]
