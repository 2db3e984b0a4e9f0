"""A collector of traces for development: it takes OTLP over HTTP, and draws.

    python -m infra.local.collector [--port 4318]

Each trace is drawn when nothing more has come of it for ten seconds. For the tests and a look; it
keeps everything in memory. Needs the extra `tracing`.
"""

import argparse
import gzip
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.local.ports import LOOPBACK
from shared.shown import for_people

QUIET_S, LOOK_S = 10.0, 0.5
WIDTH = 44
"""Of the bars, in characters."""
SHOWN = ("jamak.outcome", "jamak.attempt", "jamak.videos", "messaging.batch.message_count")


@dataclass(frozen=True)
class Seen:
    """One span, as it came."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: it is the first of its trace."""
    links: tuple[tuple[str, str], ...]
    """Trace and span of each."""
    began_s: float
    ended_s: float
    failed: bool
    facts: dict[str, Any] = field(default_factory=dict)


class Collector:
    """`with Collector() as collector:` it listens."""

    def __init__(self, port: int = 0, host: str = LOOPBACK) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Spans are what it has to say."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._lock = threading.Lock()
        self._spans: list[Seen] = []
        self.came_at: dict[str, float] = {}
        """Trace -> when something of it came last."""

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> "Collector":
        threading.Thread(target=self._server.serve_forever, name="collector", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        found = list(read_spans(body))
        with self._lock:
            self._spans += found
            self.came_at |= dict.fromkeys((one.trace_id for one in found), time.monotonic())

    def spans(self) -> list[Seen]:
        """In the order in which they began."""
        with self._lock:
            return sorted(self._spans, key=lambda one: (one.began_s, -one.ended_s))

    def traces(self) -> dict[str, list[Seen]]:
        found = defaultdict(list)
        for one in self.spans():
            found[one.trace_id].append(one)
        return dict(found)

    def forget(self, trace_id: str) -> None:
        with self._lock:
            self._spans = [one for one in self._spans if one.trace_id != trace_id]
            self.came_at.pop(trace_id, None)


def read_spans(body: bytes) -> Iterator[Seen]:
    """Of one request of OTLP, in protobuf."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = str(_facts(resource.resource.attributes).get("service.name", ""))
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service,
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    tuple((one.trace_id.hex(), one.span_id.hex()) for one in span.links),
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    _facts(span.attributes),
                )


def _facts(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(told: Any) -> Any:
    kind = told.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in told.array_value.values]
    return getattr(told, kind) if kind else None


def drawn(spans: Sequence[Seen]) -> str:
    """One trace as a tree, each span with a bar for its time."""
    first = min(one.began_s for one in spans)
    whole = max(max(one.ended_s for one in spans) - first, 1e-6)
    about = next((str(one.facts["jamak.video"]) for one in spans if "jamak.video" in one.facts), "")
    rows = [
        (one.service.removeprefix("jamak-"), "  " * depth + one.name, one)
        for one, depth in _in_tree(spans)
    ]
    services = max(len(service) for service, _, _ in rows)
    names = max(len(name) for _, name, _ in rows)
    lines = [f"trace {spans[0].trace_id}  {about}  {whole:.2f} s"]
    for service, name, one in rows:
        start = round((one.began_s - first) / whole * (WIDTH - 1))
        long = max(1, round((one.ended_s - one.began_s) / whole * WIDTH))
        bar = " " * start + ("x" if one.failed else "█") * min(long, WIDTH - start)
        lasted = f"{1000 * (one.ended_s - one.began_s):8.1f} ms"
        row = f"{service:{services}}  {name:{names}} │{bar:{WIDTH}}│ {lasted}  {_told(one)}"
        lines.append(row.rstrip())
    return for_people("\n".join(lines))


def _told(one: Seen) -> str:
    """Beside its bar: its name, what it leads to, and how it ended."""
    links = "".join(f" → {span_id[:6]}" for _, span_id in one.links)
    facts = [f"{key.rpartition('.')[2]}={one.facts[key]}" for key in SHOWN if key in one.facts]
    return " ".join([one.span_id[:6] + links, *facts])


def _in_tree(spans: Sequence[Seen]) -> Iterator[tuple[Seen, int]]:
    """With its depth; whose parent never came stands at the left."""
    known = {one.span_id for one in spans}
    children = defaultdict(list)
    for one in sorted(spans, key=lambda one: (one.began_s, -one.ended_s)):
        children[one.parent_id if one.parent_id in known else ""].append(one)

    def under(parent: str, depth: int) -> Iterator[tuple[Seen, int]]:
        for one in children.pop(parent, ()):
            yield one, depth
            yield from under(one.span_id, depth + 1)

    yield from under("", 0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.local.collector", description=__doc__)
    parser.add_argument("--port", type=int, default=4318)
    port = parser.parse_args().port
    with Collector(port) as collector, suppress(KeyboardInterrupt):
        print(f"export OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}", flush=True)
        while True:
            time.sleep(LOOK_S)
            for trace_id, came_at in list(collector.came_at.items()):
                if time.monotonic() - came_at > QUIET_S:
                    print(drawn(collector.traces()[trace_id]) + "\n", flush=True)
                    collector.forget(trace_id)


if __name__ == "__main__":
    main()
