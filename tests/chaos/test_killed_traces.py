"""A trace outlives its workers: one is killed, the next one is drained, and all of it is there."""

import signal

import pytest

from benchmarks.delivery_jobs import job_of
from infra.local.collector import Collector
from producer.jobs.send import send
from shared.telemetry.spans import LOST
from tests.crew import QUEUE, Crew
from tests.traces import ids, tracing_here
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def test_who_was_killed_is_in_the_trace_and_what_a_drain_knows_is_flushed(crew: Crew) -> None:
    with Collector() as collector, tracing_here() as told:
        crew.fleet.env |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",  # nothing is exported, but at the end
        }
        killed = crew.start()
        send(crew.queues, QUEUE, [job_of("job", 1500)])
        crew.wait_for("start", "job")
        killed.signal_group(signal.SIGKILL)
        next_one = crew.start()
        crew.wait_for("done", "job")
        next_one.signal_group(signal.SIGTERM)
        wait_until(lambda: next_one.poll() == 0, 20, "the end of the worker")
        lost, done, work = collector.spans()
        sent = told.only(f"send {QUEUE}")
    trace_id, span_id = (f"{one:0{size}x}" for one, size in zip(ids(sent), (32, 16), strict=True))
    assert {one.trace_id for one in (lost, done, work)} == {trace_id}
    assert lost.parent_id == done.parent_id == span_id
    assert done.links == ((trace_id, lost.span_id),)
    assert (work.name, work.parent_id) == ("work", done.span_id)
    assert (lost.facts["jamak.outcome"], done.facts["jamak.outcome"]) == (LOST, "done")
    assert f"-{killed.pid}-" in lost.facts["jamak.worker"]
    assert f"-{next_one.pid}-" in done.facts["jamak.worker"]
    assert (lost.failed, done.failed) == (True, False)
    assert {one.service for one in (lost, done)} == {"jamak-captioner"}
