"""The metrics' names and page, gauges that are read when asked for, and the probes."""

import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from infra.local.metrics import ask
from infra.local.ports import LOOPBACK, free_port
from infra.local.procfile import read_procfile
from shared import telemetry
from shared.broker.leased_queues import LeasedQueues
from shared.errors import ConfigError
from shared.telemetry.health import SILENT_S, STILL_S, LoopHealth
from shared.telemetry.metrics import ALL, KNOWN, Role, registry_of
from shared.telemetry.page import EXAMPLES, documented, metrics_markdown
from shared.telemetry.probes import serve
from shared.telemetry.reading import Reading
from tests.waiting import wait_until
from workers.delivery.health import WorkerHealth
from workers.delivery.leases import Leases

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_what_the_code_says() -> None:
    assert DOC.read_text() == metrics_markdown(), (
        "run: python -m shared.telemetry > docs/metrics.md"
    )


def test_names_are_as_prometheus_wants_them() -> None:
    for known in KNOWN.values():
        assert re.fullmatch("jamak(_[a-z0-9]+)+", known.name)
        assert known.name.endswith("_total") == (known.kind == "counter"), known.name
        assert not known.name.endswith(("_ms", "_s", "_count", "_sum", "_bucket", "_kb"))
        assert (known.kind != "histogram") or known.unit == "seconds"
        assert known.text.endswith(".")
        assert set(known.of) <= set(ALL)


def test_the_roles_are_the_procfiles() -> None:
    assert list(ALL) == list(read_procfile())
    assert set(get_args(Role)) == set(ALL)


def test_queries_of_the_page_ask_for_metrics_that_are_there() -> None:
    for _, query in EXAMPLES:
        for name in re.findall(r"jamak_\w+", query):
            assert name.removesuffix("_bucket") in KNOWN, name
    assert 5 <= len(EXAMPLES) <= 10


@pytest.mark.parametrize("role", ALL)
def test_a_role_exports_its_own_and_no_second_series(role: Role) -> None:
    text = generate_latest(registry_of(role)).decode()
    names = set(re.findall("^# TYPE (\\S+)", text, re.MULTILINE))
    read = {known.name for known in KNOWN.values() if known.metric is None}
    assert documented(role) - read <= names <= documented(role)
    assert "_created" not in text
    assert all(known.text in text for known in KNOWN.values() if known.name in names - read)


def test_what_may_take_an_hour_has_buckets_up_to_an_hour() -> None:
    telemetry.CAPTION_STAGE.labels("generate").observe(0)
    for role in ALL:
        for one in registry_of(role).collect():
            if one.type == "histogram":
                bounds = {sample.labels.get("le") for sample in one.samples}
                assert "3600.0" in bounds, one.name


def family(value: float) -> list[Metric]:
    found = GaugeMetricFamily("jamak_test", "A test.")
    found.add_metric([], value)
    return [found]


def scraped(reading: Reading) -> tuple[list[float], float | None]:
    """The values of a reading, and what is said about its errors."""
    registry = registry_of("feeder", reading)
    values = [one.samples[0].value for one in registry.collect() if one.name == "jamak_test"]
    return values, registry.get_sample_value("jamak_scrape_error", {"source": "test"})


def test_a_reading_serves_all_who_ask_while_it_is_fresh() -> None:
    asked = iter(range(10))
    reading = Reading("test", lambda: family(next(asked)), fresh_s=3600)
    assert [scraped(reading) for _ in range(3)] == [([0.0], 0.0)] * 3
    reading = Reading("test", lambda: family(next(asked)), fresh_s=0)
    first, second = (scraped(reading)[0] for _ in range(2))
    assert first < second


def test_what_does_not_answer_is_absent_and_said_so_and_comes_back() -> None:
    answers: list[object] = [ConnectionError("away"), 5.0]

    def read() -> Iterable[Metric]:
        answer = answers[0]
        if isinstance(answer, Exception):
            raise answer
        return family(5.0)

    reading = Reading("test", read, fresh_s=0)
    assert scraped(reading) == ([], 1.0)
    answers.pop(0)
    assert scraped(reading) == ([5.0], 0.0)


def test_what_hangs_keeps_nobody_waiting_and_is_asked_once() -> None:
    let_go, asked = threading.Event(), []

    def hangs() -> Iterable[Metric]:
        asked.append(1)
        let_go.wait(60)
        return family(7)

    reading = Reading("test", hangs, fresh_s=3600, within_s=0.05)
    try:
        for _ in range(3):
            assert scraped(reading) == ([], 1.0)
        assert len(asked) == 1
    finally:
        let_go.set()
    wait_until(lambda: scraped(reading) == ([7.0], 0.0), 30, "the late answer")


def test_a_loop_is_ready_once_it_worked_and_lives_while_it_moves() -> None:
    now = [1000.0]
    health = LoopHealth(lambda: now[0])
    assert health.live() is None
    assert health.ready() == "nothing has worked yet"
    health.failed("Redis does not answer")
    assert health.ready() == "nothing has worked yet: Redis does not answer"
    health.worked()
    assert health.ready() is None
    now[0] += SILENT_S
    health.failed("SQS does not answer")
    assert health.ready() is None  # for a moment anything may be away
    now[0] += 1
    assert health.ready() == f"nothing has worked for {SILENT_S + 1:.0f} s: SQS does not answer"
    assert health.live() is None  # a restart would not help
    now[0] += STILL_S
    assert health.live() == f"the loop has not moved for {STILL_S + 1:.0f} s"
    health.moved()
    assert health.live() is None
    health.worked()
    assert health.ready() is None
    health.ending()
    assert health.ready() == "ending"


def test_a_worker_starts_takes_work_and_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    health = WorkerHealth()
    now += 3600  # a large model over a slow network
    assert (health.live(), health.ready()) == (None, "starting")
    leases = Leases(LeasedQueues("redis://nowhere", "x:", 30), 1, dict)
    health.takes_work(leases)
    assert (health.live(), health.ready()) == (None, None)
    now += 61
    assert health.live() == "leases were not kept for 61 s"
    leases.kept_at = now
    assert health.live() == "no message was asked for in 61 s"
    leases.asked_at = now
    assert health.live() is None
    assert health.ready() == "Redis has not answered for 61 s"
    leases.answered_at = now
    assert health.ready() is None
    leases.stop_taking()
    assert (health.live(), health.ready()) == (None, "draining")


def test_probes_say_what_is_wrong_and_never_wait_for_the_metrics() -> None:
    let_go = threading.Event()

    def hangs() -> Iterable[Metric]:
        let_go.wait(60)
        return ()

    now = [1000.0]
    health, port = LoopHealth(lambda: now[0]), free_port()
    serve(health, registry_of("feeder", Reading("test", hangs, within_s=60)), LOOPBACK, port)
    scrape = threading.Thread(target=ask, args=(port, "/metrics"))
    scrape.start()
    try:
        assert ask(port, "/livez") == (200, '{"ok": true, "reason": null}\n')
        assert ask(port, "/readyz") == (503, '{"ok": false, "reason": "nothing has worked yet"}\n')
        health.worked()
        assert ask(port, "/readyz")[0] == 200
        now[0] += STILL_S + 1
        assert ask(port, "/livez")[0] == 503
        assert ask(port, "/nothing")[0] == 404
        assert scrape.is_alive()
    finally:
        let_go.set()
        scrape.join()
    with pytest.raises(ConfigError, match=f"JAMAK_METRICS_PORT={port}"):
        serve(health, registry_of("feeder"), LOOPBACK, port)
    serve(health, registry_of("feeder"), LOOPBACK, 0)  # none is wanted
