"""Real workers that are asked to end, frozen, hung: how their jobs end."""

import signal
import time
from collections import Counter

import pytest

from infra.local.metrics import ask, is_ready
from infra.local.ports import free_port
from infra.local.processes import Process
from tests.crew import QUEUE, TIMEOUT_S, Crew
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def end_of(worker: Process, within_s: float) -> int | None:
    wait_until(lambda: worker.poll() is not None, within_s, "the end of the worker")
    return worker.poll()


def test_asked_to_end_it_finishes_what_fits_and_hands_back_the_rest(crew: Crew) -> None:
    worker = crew.start()
    crew.send(["short-1", "short-2"], 700)
    crew.send(["long-1", "long-2"], 60_000)
    crew.wait_for("start", "short-1", "short-2", "long-1", "long-2")
    crew.send(["waits"])
    since = time.monotonic()
    worker.signal_group(signal.SIGTERM)
    assert end_of(worker, 5) == 0  # the long ones take longer than a slow machine may
    assert time.monotonic() - since > 1.5
    crew.wait_for("done", "short-1", "short-2")
    assert set(crew.fleet.versions()) == {"short-1", "short-2"}
    # At once, without a lease that would have to end, and nobody is blamed.
    assert crew.queues.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}
    assert crew.queues.waiting(QUEUE) == 3
    assert crew.queues.serving() == {}
    back = [crew.queues.take(crew.queues.new_lease(), [QUEUE]) for _ in range(3)]
    assert all(one is not None and one.history.attempt == 1 for one in back)
    assert all(one is not None and one.history.deaths == 0 for one in back)
    assert not list((crew.fleet.folder / "tmp").glob("jamak-*"))


def test_asked_twice_it_hands_back_at_once(crew: Crew) -> None:
    crew.fleet.env["JAMAK_DRAIN_S"] = "600"
    worker = crew.start()
    crew.send(["long"], 600_000)
    crew.wait_for("start", "long")
    worker.signal_group(signal.SIGTERM)
    time.sleep(0.3)
    worker.signal_group(signal.SIGTERM)
    assert end_of(worker, 5) == 0
    assert crew.queues.waiting(QUEUE) == 1


def test_an_idle_worker_ends_at_once_when_asked(crew: Crew) -> None:
    crew.fleet.env["JAMAK_DRAIN_S"] = "600"
    worker = crew.start()
    worker.signal_group(signal.SIGTERM)
    assert end_of(worker, 5) == 0


def test_frozen_past_its_lease_it_writes_nothing(crew: Crew) -> None:
    frozen = crew.start()
    crew.send(["job"], 1500)
    crew.wait_for("start", "job")
    frozen.signal_group(signal.SIGSTOP)
    crew.start()
    crew.wait_for("done", "job", within_s=TIMEOUT_S + 8)
    frozen.signal_group(signal.SIGCONT)
    crew.send(["next-1", "next-2", "next-3", "next-4", "next-5", "next-6"], 500)
    crew.wait_for("done", "next-1", "next-2", "next-3", "next-4", "next-5", "next-6")
    assert (frozen.pid, "done", "job") not in crew.noted()
    assert (frozen.pid, "conflict", "job") not in crew.noted()  # it did not even try
    assert crew.fleet.versions()["job"] == 1
    assert crew.queues.counts()["in_flight"] == 0
    assert any(pid == frozen.pid and job.startswith("next") for pid, _, job in crew.noted())


def test_no_clock_but_the_servers_matters(crew: Crew) -> None:
    ahead = crew.start(clock_s=600)
    crew.send(["long-1", "long-2"], round(2.5 * TIMEOUT_S * 1000))
    crew.wait_for("start", "long-1", "long-2")
    behind = crew.start(clock_s=-600)
    crew.send(["long-3", "long-4", "long-5"], round(2.5 * TIMEOUT_S * 1000))
    names = [f"long-{i}" for i in range(1, 6)]
    crew.wait_for("start", *names)
    assert {pid for pid, what, _ in crew.noted() if what == "start"} == {ahead.pid, behind.pid}
    crew.wait_for("done", *names)
    starts = Counter(note.job for note in crew.fleet.notes() if note.what == "start")
    assert starts == dict.fromkeys(names, 1)
    # And what it leaves behind comes back as soon as anybody else's would.
    crew.send(["left-1", "left-2", "left-3", "left-4"], 60_000)
    crew.wait_for("start", "left-1", "left-2", "left-3", "left-4")
    left = {job for pid, what, job in crew.noted() if pid == ahead.pid and "left" in job}
    ahead.kill()
    crew.start()

    def again() -> bool:
        return left <= {job for pid, _, job in crew.noted() if pid != ahead.pid}

    wait_until(again, TIMEOUT_S + 8, "redelivery")  # not 600 s later


def test_what_hangs_costs_a_restart_and_ends_with_the_evidence(crew: Crew) -> None:
    crew.fleet.size = 2
    crew.send(["hangs"])
    crew.fleet.fill_up()
    crew.send([f"good-{i}" for i in range(20)], 300)

    def rejected() -> bool:
        crew.fleet.fill_up()
        return bool(crew.fleet.failures())

    wait_until(rejected, 30, "its failure")
    failure = crew.failure("hangs")
    assert (failure["reason"], failure["hangs"]) == ("hangs", 3)
    crew.wait_for("done", *(f"good-{i}" for i in range(20)))
    assert {worker.poll() for worker in crew.fleet.ended} <= {70}
    assert crew.fleet.failures() == {"hangs": 1}


OK = (200, '{"ok": true, "reason": null}\n')


def test_probes_answer_from_what_was_really_done(crew: Crew) -> None:
    port = free_port()
    worker = crew.start(metrics_port=port)
    wait_until(lambda: is_ready(port), 10, "to be ready")
    assert ask(port, "/livez") == ask(port, "/readyz") == OK
    assert "jamak_leases_lost_total" in ask(port, "/metrics")[1]
    crew.fleet.kill_redis()
    wait_until(lambda: ask(port, "/readyz")[0] == 503, 3 * TIMEOUT_S, "not to be ready")
    assert "Redis has not answered" in ask(port, "/readyz")[1]
    assert ask(port, "/livez")[0] == 200  # a restart would not bring Redis back
    crew.fleet.restart_redis()
    wait_until(lambda: ask(port, "/readyz")[0] == 200, 10, "to be ready again")
    crew.send(["long"], 60_000)
    crew.wait_for("start", "long")
    worker.signal_group(signal.SIGTERM)
    wait_until(lambda: "draining" in ask(port, "/readyz")[1], 2, "to be draining")
    assert end_of(worker, 5) == 0
