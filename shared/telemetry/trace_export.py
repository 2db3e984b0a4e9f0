"""Spans to a collector, by OpenTelemetry's SDK, over OTLP: off the worker's way.

A span that has ended goes into a queue; a thread of its own exports. A collector that is away, slow
or refuses costs spans, and nothing else: no job waits, and the queue is bounded. Everything is
configured by OpenTelemetry's own variables. Needs the extra `tracing`.
"""

import logging
from collections.abc import Mapping, Sequence

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind

from shared import __version__
from shared.errors import ConfigError
from shared.telemetry.logs import get_logger
from shared.telemetry.metrics import SPANS
from shared.telemetry.repeated import Repeated
from shared.telemetry.spans import IDS, SCHEMA, Spans
from shared.telemetry.tracing import Facts

PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
QUEUE = 16384
"""Spans that wait to be exported, about 1 kB each: a feeder sends thousands of jobs in a moment."""
EXPORTERS = "opentelemetry.exporter.otlp"
CURE = "See docs/tracing.md."

log = get_logger("jamak.tracing")


def exported(role: str, environ: Mapping[str, str]) -> tuple[TracerProvider, Spans]:
    """What makes spans, and what they are made by.

    Raises:
        ConfigError: the variables want what is not there.
    """
    return exported_by(_exporter(environ), role, environ)


def exported_by(
    exporter: SpanExporter, role: str, environ: Mapping[str, str]
) -> tuple[TracerProvider, Spans]:
    ours = {"service.name": f"jamak-{role}", "service.version": __version__}
    told = OTELResourceDetector().detect().attributes
    resource = Same(Resource.create({name: ours[name] for name in ours if name not in told}))
    # Its own end at exit takes as long as the collector does; ours does not (tracing.stop).
    provider = TracerProvider(resource=resource, id_generator=Named(), shutdown_on_exit=False)
    size = None if "OTEL_BSP_MAX_QUEUE_SIZE" in environ else QUEUE
    queue = BatchSpanProcessor(Watched(exporter), max_queue_size=size)
    provider.add_span_processor(queue)
    scope = InstrumentationScope("jamak", __version__, SCHEMA)

    def tell(name: str, parent: SpanContext, began_ns: int, ended_ns: int, facts: Facts) -> None:
        flags, span_id = parent.trace_flags, provider.id_generator.generate_span_id()
        span = ReadableSpan(
            name,
            SpanContext(parent.trace_id, span_id, is_remote=False, trace_flags=flags),
            parent,
            resource,
            facts,
            kind=SpanKind.INTERNAL,
            start_time=began_ns,
            end_time=ended_ns,
            instrumentation_scope=scope,
        )
        queue.on_end(span)

    return provider, Spans(provider.get_tracer("jamak", __version__, SCHEMA), tell)


class Same(Resource):
    """Hashed once. The exporter asks for each span, and the SDK's makes JSON of it each time."""

    def __init__(self, as_it_is: Resource) -> None:
        super().__init__(as_it_is.attributes, as_it_is.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class Named(RandomIdGenerator):
    """By chance, but where a span's name is known before it begins (spans.py)."""

    def generate_trace_id(self) -> int:
        return IDS.trace_id or super().generate_trace_id()

    def generate_span_id(self) -> int:
        return IDS.span_id or super().generate_span_id()


class Watched(SpanExporter):
    """Counts what is exported and what is not, and says so once, rather than for each batch."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._said = _LastWords()
        logger = logging.getLogger(EXPORTERS)
        logger.handlers, logger.propagate = [self._said], False
        self._fails = Repeated(log, "traces are exported again")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            result, self._said.text = SpanExportResult.FAILURE, repr(error)
        if result is SpanExportResult.SUCCESS:
            SPANS.labels("exported").inc(len(spans))
            self._fails.worked()
        else:
            SPANS.labels("failed").inc(len(spans))
            self._fails.failed("spans are lost", spans=len(spans), message=self._said.text)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _LastWords(logging.Handler):
    """What the exporter logs of a batch that it could not export is why."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _exporter(environ: Mapping[str, str]) -> SpanExporter:
    """Raises ConfigError."""
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), "http/protobuf")
    try:
        if protocol == "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

            exporter: SpanExporter = grpc.OTLPSpanExporter()
            return exporter
    except Exception as error:  # a variable that its library cannot read
        raise ConfigError(
            f"traces cannot be exported over {protocol}: {error}", cure=CURE
        ) from error
    raise ConfigError(
        f"traces cannot be exported over {protocol}: http/protobuf and grpc are known", cure=CURE
    )
