"""The spans of a video's trace, by OpenTelemetry's API: upload, send, attempt, stages.

Names of attributes are OpenTelemetry's conventions for messaging (SCHEMA), which are still called
"Development" there, and our own, `jamak.…`. No span says what an error said: that may quote an
address with its signature. The log says it, with the trace's id beside it. Knows nothing of Redis,
of buckets, or of where spans go. Imported once somebody wants traces (`tracing`).
"""

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, repeat
from typing import Protocol

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
    use_span,
)

from shared.shown import for_people
from shared.telemetry.trace_headers import Carried, attempt_id, carried_by, headers_of
from shared.telemetry.tracing import Facts, Value

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
MOST_STAGES = 9
"""Spans of one attempt; with the upload, the sending and the attempt itself they are twelve."""
LOST = "lease_lost"
"""How an attempt ended that never told of itself."""


class Stage(Protocol):
    """Of an attempt: times are time.monotonic()."""

    @property
    def name(self) -> str: ...
    @property
    def began(self) -> float: ...
    @property
    def ended(self) -> float: ...
    @property
    def seconds(self) -> float:
        """In it: less than from its beginning to its end, where it was left and begun again."""


class Ids(threading.local):
    """What the next span of this thread is to be called; 0: as chance will have it."""

    trace_id = 0
    span_id = 0


IDS = Ids()
"""Asked by the generator of ids (trace_export.py), for the API does not take any."""


class Tell(Protocol):
    """A span that is over, of a trace that is sampled. The tracer would begin one, ask whether it
    is sampled, and copy it at its end: for the nine stages of an attempt that costs the most."""

    def __call__(
        self, name: str, parent: SpanContext, began_ns: int, ended_ns: int, facts: Facts
    ) -> None: ...


class Spans:
    def __init__(self, tracer: Tracer, tell: Tell) -> None:
        self._tracer, self._tell = tracer, tell

    @contextmanager
    def sending(
        self,
        queue: str,
        jobs: Iterable[tuple[str, str]],
        happened_s: Iterable[float | None] = (),
        backlog: SpanContext | None = None,
    ) -> Iterator[list[dict[str, str]]]:
        """Around what sends; the headers of each message.

        Args:
            jobs: id and what it is about, as people call it.
            happened_s: as in `tracing.sending`.
            backlog: to which they belong.
        """
        links = [Link(backlog)] if backlog is not None else []
        # A line of a backlog has a trace of its own, whatever this thread works on.
        context = Context() if backlog is not None else None
        spans = []
        for (job, about), at_s in zip(jobs, chain(happened_s, repeat(None)), strict=False):
            parent = context if at_s is None else self._upload(about, at_s)
            spans.append(self._send(queue, job, about, parent, links))
        try:
            yield [headers(span.get_span_context()) for span in spans]
        except BaseException:
            for span in spans:
                span.set_status(StatusCode.ERROR)
            raise
        finally:
            for span in spans:
                span.end()

    def _upload(self, about: str, at_s: float) -> Context:
        """From then until now."""
        now = time.time_ns()
        began = min(round(at_s * 1e9), now)
        facts = {"jamak.video": about}
        span = self._start("upload", SpanKind.INTERNAL, Context(), facts=facts, began_ns=began)
        span.end(now)
        return set_span_in_context(span, Context())

    def _send(
        self, queue: str, job: str, about: str, parent: Context | None, links: Sequence[Link]
    ) -> Span:
        facts = messaging(queue, "send") | {"messaging.message.id": job, "jamak.video": about}
        return self._start(f"send {queue}", SpanKind.PRODUCER, parent, links, facts=facts)

    def attempt(
        self, *, queue: str, lease: str, message: bytes, number: int, worker: str, dead: str
    ) -> "Attempt":
        """The message under this lease is worked on from now on.

        Args:
            number: of this attempt.
            dead: the worker that had it last, if it died or hung with it.
        """
        carried = carried_by(message)
        parent = _context_of(carried)
        links = []
        if carried is not None and carried.last is not None:
            links = [Link(_remote(carried, carried.last.span_id))]
            if carried.last.lost:
                self._lost(queue, carried, dead)
        facts = messaging(queue, "process") | {"jamak.attempt": number, "jamak.worker": worker}
        span = self._start(
            f"process {queue}",
            SpanKind.CONSUMER,
            parent,
            links,
            facts=facts,
            span_id=attempt_id(lease),
        )
        return Attempt(self, span)

    def _lost(self, queue: str, carried: Carried, worker: str) -> None:
        """Who lost a lease, by dying or otherwise, tells nothing of it: whoever has the message
        next does, under the name that it would have had."""
        assert carried.last is not None
        last = carried.last
        links = [Link(_remote(carried, last.before))] if last.before else []
        ended = {"jamak.worker": worker, "jamak.outcome": LOST, "error.type": LOST}
        span = self._start(
            f"process {queue}",
            SpanKind.CONSUMER,
            _context_of(carried),
            links,
            facts=messaging(queue, "process") | ended,
            began_ns=round(last.taken_s * 1e9),
            span_id=last.span_id,
        )
        span.set_status(Status(StatusCode.ERROR, LOST))
        span.end()

    @contextmanager
    def feeding(
        self, backlog: str, created_at: datetime, queue: str, jobs: int
    ) -> Iterator[SpanContext]:
        """Around what puts a stretch of a backlog into a queue."""
        parent = set_span_in_context(self._backlog(backlog, created_at), Context())
        facts = messaging(queue, "send") | {"jamak.backlog": backlog}
        facts["messaging.batch.message_count"] = jobs
        span = self._start(f"feed {queue}", SpanKind.INTERNAL, parent, facts=facts)
        try:
            yield span.get_span_context()
        finally:
            span.end()

    def scanned(self, backlog: str, created_at: datetime, facts: Facts) -> None:
        """All of it is known: from when it was created until now."""
        span = self._backlog(backlog, created_at)
        span.set_attributes(_told({"jamak.backlog": backlog, **facts}))
        span.end()

    def _backlog(self, name: str, created_at: datetime) -> Span:
        """Its name says what its trace is called: so all feeders know it, and nobody keeps it."""
        made = hashlib.sha256(f"{name}\n{created_at.isoformat()}".encode()).hexdigest()
        return self._start(
            "backlog",
            SpanKind.INTERNAL,
            Context(),
            began_ns=round(created_at.timestamp() * 1e9),
            trace_id=int(made[:32], 16),
            span_id=int(made[32:48], 16),
        )

    def stage(self, attempt: SpanContext, stage: Stage, began_ns: int) -> None:
        """Args:
        began_ns: since 1970.
        """
        lasted_s = stage.ended - stage.began
        left = stage.seconds < 0.99 * lasted_s
        facts: Facts = {"jamak.seconds": round(stage.seconds, 6)} if left else {}
        self._tell(stage.name, attempt, began_ns, began_ns + round(lasted_s * 1e9), facts)

    def _start(
        self,
        name: str,
        kind: SpanKind,
        parent: Context | None,
        links: Sequence[Link] = (),
        *,
        facts: Facts | None = None,
        began_ns: int | None = None,
        trace_id: int = 0,
        span_id: int = 0,
    ) -> Span:
        """Args:
        parent: None: what this thread works on.
        """
        IDS.trace_id, IDS.span_id = trace_id, span_id
        try:
            return self._tracer.start_span(
                name, parent, kind, _told(facts or {}), links, began_ns, record_exception=False
            )
        finally:
            IDS.trace_id = IDS.span_id = 0


class Attempt:
    """One try of one message. Told once, by whoever ends it first."""

    def __init__(self, spans: Spans, span: Span) -> None:
        self._spans, self._span = spans, span
        self._once = threading.Lock()

    @property
    def trace_id(self) -> str:
        return f"{self._span.get_span_context().trace_id:032x}"

    @contextmanager
    def current(self) -> Iterator[None]:
        """What this thread sends in the block belongs to it."""
        with use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield

    def end(self, outcome: str, facts: Facts, stages: Sequence[Stage], *, failed: bool) -> None:
        """Args:
        outcome: `done`, or the reason of an error.
        """
        if not self._span.is_recording() or not self._once.acquire(blocking=False):
            return
        now_ns, now = time.time_ns(), time.monotonic()
        inside = self._span.get_span_context()
        longest = sorted(stages, key=lambda one: one.seconds, reverse=True)[:MOST_STAGES]
        for one in sorted(longest, key=lambda one: one.began):
            self._spans.stage(inside, one, now_ns - round((now - one.began) * 1e9))
        error = {"error.type": outcome} if failed else {}
        self._span.set_attributes(_told({**facts, "jamak.outcome": outcome, **error}))
        if failed:
            self._span.set_status(Status(StatusCode.ERROR, outcome))
        self._span.end(now_ns)


def messaging(queue: str, operation: str) -> dict[str, Value]:
    return {
        "messaging.system": "redis",
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def headers(context: SpanContext) -> dict[str, str]:
    return headers_of(context.trace_id, context.span_id, context.trace_flags)


def _told(facts: Facts) -> dict[str, Value]:
    """What is empty is left out, and so is what no reader shall see (shared/shown.py)."""
    return {name: _shown(value) for name, value in facts.items() if value != ""}


def _shown(value: Value) -> Value:
    if isinstance(value, str):
        # Mostly there is nothing to be shown otherwise, and spans are many.
        plain = value.isascii() and value.isprintable() and "@" not in value
        return value if plain else for_people(value)
    return value if isinstance(value, int | float) else [for_people(one) for one in value]


def _remote(carried: Carried, span_id: int) -> SpanContext:
    flags = TraceFlags(carried.flags)
    return SpanContext(carried.trace_id, span_id, is_remote=True, trace_flags=flags)


def _context_of(carried: Carried | None) -> Context:
    """Of whoever sent the message; without one a trace begins."""
    if carried is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(_remote(carried, carried.span_id)), Context())
