"""A real Prometheus beside a real worker, and what all other processes export: it reads them, and
evaluates every rule."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.ports import LOOPBACK, free_port
from infra.local.prometheus import Prometheus, start_prometheus
from producer.canary.lease import Lease
from producer.canary.watcher import Watcher
from producer.jobs.fleet import fleet_reading
from producer.scaling.answers import Answers
from producer.scaling.serve import readings_of
from producer.uploads.lag import events_reading
from producer.uploads.sqs import sqs_client
from producer.verbs.adapters_watch import trials_reading
from producer.verbs.scale import looking
from shared.broker.apps import leased_queues
from shared.telemetry.health import LoopHealth
from shared.telemetry.metrics import ALL, Role, registry_of
from shared.telemetry.probes import serve
from shared.telemetry.reading import Reading
from tests.programs import need
from tests.promql import selected
from tests.rules import ALERTS, EVERYWHERE, PANELS, QUERIES, RECORDED
from tests.waiting import wait_until
from tests.world import World


def check_prometheus(world: World, captioner: int, folder: Path) -> None:
    """Args:
    captioner: where one answers that has captioned something.
    """
    need("prometheus")
    with _listener() as listener:
        jobs = {"jamak": [captioner, _feeder(world), _scaler(world), listener]}
        jobs["jamak"] += [_served("trainer"), _served("retrainer"), _watcher(world)]
        _check(start_prometheus(folder, jobs, every="1s"))


def _check(prometheus: Prometheus) -> None:
    try:
        wait_until(lambda: _tells(prometheus), 60, "what was recorded, and two alerts")
        assert _found(prometheus, 'jamak_scale_wanted{class="l4"} == 0')
        _check_rules(prometheus)
        _check_panels(prometheus)
        _check_names(prometheus)
    finally:
        prometheus.stop()


def _tells(prometheus: Prometheus) -> bool:
    """What holds, as soon as it was scraped twice and evaluated after that."""
    waiting = {one["class"] for one in _found(prometheus, "jamak:class_waiting == 1")}
    ended = {one["outcome"] for one in _found(prometheus, "jamak:captions:rate5m")}
    # Whether they have held for long enough or not.
    alerts = {one["alertname"] for one in _found(prometheus, "ALERTS")}
    outcomes = {"ok", "partial", "failed"}
    return (
        len(_found(prometheus, 'up{job="jamak"} == 1')) == len(ALL)
        and waiting == {"l4"}
        and ended == outcomes
        and alerts >= {"JamakPoison", "JamakNobodyServes"}
    )


def _feeder(world: World) -> int:
    """A feeder's metrics, of queues in which something waits and something was set aside."""
    queues = leased_queues(world.settings, f"{world.redis_prefix}-watched:")
    queues.put("caption.l4", ["odd", "waits"])
    taken = queues.take(queues.new_lease(), ["caption.l4"])
    assert taken is not None
    queues.poison(taken.lease, "nobody can read it")
    return _served("feeder", fleet_reading(queues, queues, dict))


def _scaler(world: World) -> int:
    """A scaler's metrics, of the fleet that is there."""
    answers = Answers(looking(world.settings), settle_s=0.0)
    answers.refresh()
    return _served("scaler", *readings_of(answers))


def _watcher(world: World) -> int:
    """A watcher's metrics, of trials that there are not."""
    lease = Lease(world.store, world.output, world.prefix, "watched")
    watcher = Watcher(world.store, world.settings, lease, lambda pause_s: True)
    return _served("watcher", trials_reading(watcher))


@contextmanager
def _listener() -> Iterator[int]:
    """A listener's metrics, of a queue that has one for what nobody could read."""
    sqs = sqs_client()
    url, dead = (
        sqs.create_queue(QueueName=f"jamak-watched{name}")["QueueUrl"] for name in ("", "-dead")
    )
    try:
        yield _served("listener", *events_reading(sqs, url, lambda: dead))
    finally:
        for one in (url, dead):
            sqs.delete_queue(QueueUrl=one)


def _served(role: Role, *readings: Reading) -> int:
    port = free_port()
    serve(LoopHealth(), registry_of(role, *readings), LOOPBACK, port)
    return port


def _check_rules(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert rules.keys() == ALERTS.keys() | RECORDED.keys()
    assert {name: one for name, one in rules.items() if one["health"] != "ok"} == {}


def _check_panels(prometheus: Prometheus) -> None:
    """That a query can be read says nothing of whether its two sides fit one another, nor of how
    many lines it gives: a single figure is one."""
    now = time.time()
    single = {panel["title"] for panel in PANELS if panel["type"] == "stat"}
    for title, query in QUERIES:
        expr = query.replace("$__rate_interval", "1m")
        drawn = prometheus.ask("query_range", query=expr, start=now - 60, end=now, step=1)["result"]
        assert len(drawn) <= 1 or title not in single, (title, drawn)


def _check_names(prometheus: Prometheus) -> None:
    """Whatever rules and panels ask of Jamak came from one of these."""
    scraped = {one["metric"] for one in prometheus.ask("targets/metadata")}
    asked = {one.name for expr in EVERYWHERE for one in selected(expr)}
    ours = {name for name in asked if name.startswith("jamak_")}
    assert ours
    # A family has its name without these; a counter's has it with its own where it is plain text.
    missing = {
        name
        for name in ours
        if not {name, re.sub(r"_(total|bucket|sum|count)$", "", name)} & scraped
    }
    assert not missing, sorted(missing)


def _found(prometheus: Prometheus, query: str) -> list[dict[str, str]]:
    return [one["metric"] for one in prometheus.ask("query", query=query)["result"]]
