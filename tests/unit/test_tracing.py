"""Traces by the real SDK: when there are any, where they go, and what they cost whom."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from infra.local.collector import Collector, drawn
from infra.local.procfile import ROOT
from shared import telemetry
from shared.telemetry import trace_export, tracing
from shared.telemetry.metrics import SPANS
from shared.telemetry.spans import LOST, MOST_STAGES, Attempt
from shared.telemetry.trace_headers import attempt_id, carried_by
from tests.traces import ids, links_of, parent_of, tracing_here
from tests.waiting import wait_until
from workers.progress import Progress, Stage

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
QUEUE = "caption.t4"


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nothing has been decided in this process."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(tracing, "_state", tracing._State())
    yield monkeypatch
    tracing.stop()


def message_with(headers: dict[str, str]) -> bytes:
    return b'{"headers": {' + b", ".join(
        f'"{name}": "{value}"'.encode() for name, value in headers.items()
    )


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({ENDPOINT: ""}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_they_are_wanted_where_a_collector_is_named(environ: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(environ) == wanted


def test_where_nobody_wants_any_nothing_is_imported() -> None:
    program = "import sys; import producer.jobs.send, workers.tasks\n"
    program += "from shared.telemetry import tracing; tracing.start('test'); tracing.spans()\n"
    # redis-py imports some of OpenTelemetry where it finds it.
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "shared.telemetry.spans")
    program += f"print([name for name in sys.modules if name.startswith({ours})])"
    environ = {name: value for name, value in os.environ.items() if name[:5] != "OTEL_"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


def test_without_the_sdk_it_says_so_and_goes_on(
    untraced: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    untraced.setenv(ENDPOINT, "http://collector:4318")
    untraced.setitem(sys.modules, "shared.telemetry.trace_export", None)
    telemetry.configure_logging("info")
    tracing.start("listener")
    assert tracing.spans() is None
    with tracing.sending(QUEUE, [("job", "video")]) as headers:
        assert headers == ()


def test_a_commands_answer_stays_alone_on_stdout() -> None:
    """Whatever there is to say of a collector that is away, or of a library that is not there."""
    program = "from shared.telemetry import tracing\n"
    program += "with tracing.sending('q', [('job', 'video')]): print('{}')"
    for more in ({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, ENDPOINT: "http://127.0.0.1:9", **more},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (0, "{}\n"), done.stderr
        assert ("no traces" in done.stderr) == bool(more)
        assert all(json.loads(line) for line in done.stderr.splitlines())


def test_what_cannot_be_used_ends_no_process(untraced: pytest.MonkeyPatch) -> None:
    untraced.setenv(ENDPOINT, "http://collector:4318")
    untraced.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")
    tracing.start("listener")
    assert tracing.spans() is None


def test_they_go_to_a_collector_as_the_variables_say(untraced: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        untraced.setenv(ENDPOINT, collector.url)
        untraced.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        tracing.start("listener")
        happened_s = time.time() - 5
        with tracing.sending(QUEUE, [("job-1", "s3://b/영상.mp4")], [happened_s]) as headers:
            pass
        tracing.stop(10)
        upload, send = collector.spans()
    assert (upload.service, upload.name, send.name) == ("jamak-listener", "upload", f"send {QUEUE}")
    assert upload.began_s == pytest.approx(happened_s)
    assert (upload.parent_id, send.parent_id) == ("", upload.span_id)
    assert send.facts["messaging.message.id"] == "job-1"
    assert send.facts["jamak.video"] == "s3://b/영상.mp4"
    assert send.facts["messaging.destination.name"] == QUEUE
    carried = carried_by(message_with(headers[0]))
    assert carried is not None
    assert (carried.trace_id, carried.span_id) == (int(send.trace_id, 16), int(send.span_id, 16))
    text = drawn([upload, send])
    assert "listener  upload" in text
    assert f"listener    send {QUEUE}" in text
    assert "영상.mp4" in text


def test_a_sampler_of_theirs_is_asked(untraced: pytest.MonkeyPatch) -> None:
    untraced.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with tracing_here() as told:
        with tracing.sending(QUEUE, [("job", "video")]) as headers:
            pass
        carried = carried_by(message_with(headers[0]))
        assert carried is not None
        assert not carried.flags & 1
        spans = tracing.spans()
        assert spans is not None
        untraced.delenv("OTEL_TRACES_SAMPLER")
    with tracing_here() as told:  # a worker that would sample all does as it is told
        spans = tracing.spans()
        assert spans is not None
        attempt = begun(headers[0], "lease-1")
        attempt.end("done", {}, [], failed=False)
        assert told.spans() == []


def begun(headers: dict[str, str], lease: str) -> Attempt:
    spans = tracing.spans()
    assert spans is not None
    return spans.attempt(
        queue=QUEUE,
        lease=lease,
        message=message_with(headers),
        number=1,
        worker="worker-1",
        dead="",
    )


def as_taken(headers: dict[str, str], lease: str, how: str = "+") -> dict[str, str]:
    """As Redis leaves them."""
    last = headers["tracestate"][6:22]
    told = f"jamak={attempt_id(lease):016x}.{round(time.time() * 1000)}.{how}.{last}"
    return {**headers, "tracestate": told}


def test_attempts_are_siblings_each_linked_to_the_one_before() -> None:
    with tracing_here() as told:
        with tracing.sending(QUEUE, [("job", "video")]) as headers:
            pass
        first, second = headers[0], as_taken(headers[0], "lease-1")
        begun(first, "lease-1").end("store_unavailable", {}, [], failed=True)
        begun(second, "lease-2").end("done", {"jamak.flags": ("truncated",)}, [], failed=False)
        send = told.only(f"send {QUEUE}")
        one, two = told.named(f"process {QUEUE}")
    assert {one.context.trace_id, two.context.trace_id} == {send.context.trace_id}
    assert parent_of(one) == parent_of(two) == send.context.span_id
    assert (links_of(one), links_of(two)) == ([], [ids(one)])
    assert (one.status.status_code, two.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert one.attributes is not None
    assert one.attributes["error.type"] == "store_unavailable"
    assert two.attributes is not None
    assert two.attributes["jamak.flags"] == ("truncated",)


def test_who_lost_a_lease_is_told_by_the_next_and_never_twice() -> None:
    with tracing_here() as told:
        with tracing.sending(QUEUE, [("job", "video")]) as headers:
            pass
        killed, again = headers[0], as_taken(headers[0], "lease-1", "x")
        begun(killed, "lease-1")  # and never ended
        begun(again, "lease-2")
        third = as_taken(again, "lease-2", "x")
        begun(third, "lease-3").end("done", {}, [], failed=False)
        found = {one.context.span_id: one for one in told.named(f"process {QUEUE}")}
    assert len(found) == 3
    lost, lost_too, done = (found[attempt_id(f"lease-{n}")] for n in (1, 2, 3))
    assert links_of(lost_too) == [ids(lost)]
    assert links_of(done) == [ids(lost_too)]
    for one in (lost, lost_too):
        assert one.attributes is not None
        assert one.attributes["jamak.outcome"] == LOST
        assert one.status.status_code is StatusCode.ERROR


def test_an_attempt_is_told_once_with_its_stages_and_no_more_than_nine() -> None:
    now = time.monotonic()
    stages = [Stage(str(n), now - 20 + n, now - 19 + n, 1.0 + n / 100) for n in range(12)]
    with tracing_here() as told:
        attempt = begun({}, "lease-1")
        attempt.end("draining", {}, stages, failed=False)
        attempt.end("done", {}, stages, failed=False)  # its thread goes on, for a moment
        one = told.only(f"process {QUEUE}")
        assert one.attributes is not None
        assert one.attributes["jamak.outcome"] == "draining"
        found = [span for span in told.spans() if span is not one]
    assert [span.name for span in found] == [str(n) for n in range(3, 12)]
    assert len(found) == MOST_STAGES
    for span in found:
        assert parent_of(span) == one.context.span_id
        assert ((span.end_time or 0) - (span.start_time or 0)) / 1e9 == pytest.approx(1.0)


def test_a_stage_that_was_left_says_how_long_it_took_itself() -> None:
    now = [100.0]
    progress = Progress(lambda: now[0])
    for stage in ("download", "frames", "download", "check"):
        progress.tick(stage)
        now[0] += 2
    download, frames, check = progress.stages()
    assert (download.began, download.ended, download.seconds) == (100, 106, 4)
    assert (frames.began, check.ended) == (102, 108)
    with tracing_here() as told:
        begun({}, "lease-1").end("done", {}, [download, frames], failed=False)
        assert dict(told.only("download").attributes or {}) == {"jamak.seconds": 4.0}
        assert not told.only("frames").attributes


def test_a_video_of_a_backlog_has_its_own_trace_which_leads_to_the_backlogs() -> None:
    created_at = datetime.now(UTC)
    with tracing_here() as told:
        spans = tracing.spans()
        assert spans is not None
        for line in range(2):  # two feeders, that know nothing of each other
            with (
                spans.feeding("films", created_at, QUEUE, 1) as backlog,
                spans.sending(QUEUE, [(f"job-{line}", "video")], backlog=backlog),
            ):
                pass
        spans.scanned("films", created_at, {"jamak.videos": 2})
        root = told.only("backlog")
        feeds, sends = told.named(f"feed {QUEUE}"), told.named(f"send {QUEUE}")
    assert {parent_of(one) for one in feeds} == {root.context.span_id}
    assert {one.context.trace_id for one in feeds} == {root.context.trace_id}
    assert [links_of(one) for one in sends] == [[ids(one)] for one in feeds]
    assert len({root.context.trace_id, *(one.context.trace_id for one in sends)}) == 3
    assert [one.parent for one in sends] == [None, None]


def test_nothing_secret_is_told() -> None:
    with tracing_here() as told:
        about = "https://user:hunter2@example.com/a.mp4"
        with tracing.sending(QUEUE, [("job", about)], [time.time()]):
            pass
        with pytest.raises(ConnectionError), tracing.sending(QUEUE, [("job", about)]):
            raise ConnectionError("redis://:hunter2@host?X-Amz-Signature=5ec3e7")
        begun({}, "lease").end("internal_error", {"jamak.video": about}, [], failed=True)
        all_of_it = "".join(one.to_json() for one in told.spans())
    assert all_of_it.count("https://***@example.com/a.mp4") == 4
    assert "hunter2" not in all_of_it
    assert "5ec3e7" not in all_of_it


class Sick(SpanExporter):
    """A collector that is sick in one way after the other."""

    def __init__(self) -> None:
        self.answers: list[object] = [ConnectionError("away"), SpanExportResult.FAILURE]
        self.hangs, self.exported = threading.Event(), 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not self.answers:
            self.hangs.wait(60)
            self.exported += len(spans)
            return SpanExportResult.SUCCESS
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, SpanExportResult)
        return answer


def test_a_sick_collector_holds_nobody_up_and_is_counted(untraced: pytest.MonkeyPatch) -> None:
    sick = Sick()
    size = {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    for name, value in size.items():
        untraced.setenv(name, value)
    provider, spans = trace_export.exported_by(sick, "captioner", size)
    state = tracing._state
    state.provider, state.spans, state.decided = provider, spans, True
    failed = SPANS.labels("failed")
    before = failed._value.get()
    for _ in range(2):  # away, and then it refuses
        with tracing.sending(QUEUE, [(str(n), "video") for n in range(4)]):
            pass
        left = len(sick.answers)
        wait_until(lambda left=left: len(sick.answers) < left or not left, 30, "an export")
        provider.force_flush()
    assert failed._value.get() - before == 8
    began = time.monotonic()
    for _ in range(8):  # it hangs: what is too much is dropped
        with tracing.sending(QUEUE, [(str(n), "video") for n in range(4)]):
            pass
    tracing.stop(0.05)
    assert time.monotonic() - began < 10
    assert sick.exported == 0
    sick.hangs.set()


def test_what_an_attempt_sends_belongs_to_it() -> None:
    """To a larger card, or the newer version of an overwritten video."""
    with tracing_here() as told:
        attempt = begun({}, "lease-1")
        with attempt.current(), tracing.sending("caption.l4", [("job", "video")]) as headers:
            pass
        attempt.end("handed_up", {}, [], failed=False)
        one, sent = told.only(f"process {QUEUE}"), told.only("send caption.l4")
    carried = carried_by(message_with(headers[0]))
    assert carried is not None
    assert (carried.trace_id, parent_of(sent)) == ids(one)
