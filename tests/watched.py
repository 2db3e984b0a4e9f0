"""A real Prometheus beside a real worker: it reads both, and evaluates every rule."""

import time
from pathlib import Path

from infra.local.ports import LOOPBACK, free_port
from infra.local.prometheus import Prometheus, start_prometheus
from producer.jobs.fleet import fleet_reading
from producer.scaling.answers import Answers
from producer.scaling.serve import readings_of
from producer.verbs.scale import looking
from shared.broker.apps import leased_queues
from shared.telemetry.health import LoopHealth
from shared.telemetry.metrics import KNOWN, Role, registry_of
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
    jobs = {"jamak": [captioner, _feeder(world), _scaler(world)]}
    prometheus = start_prometheus(folder, jobs, every="1s")
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
        waiting == {"l4"} and ended == outcomes and alerts >= {"JamakPoison", "JamakNobodyServes"}
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
    """What rules and panels ask of these three came from there."""
    scraped = {one["metric"] for one in prometheus.ask("targets/metadata")}
    for name in {one.name for expr in EVERYWHERE for one in selected(expr)}:
        known = KNOWN.get(name) or KNOWN.get(name.rpartition("_")[0])
        if known and {"captioner", "feeder", "scaler"} & set(known.of):
            # As OpenMetrics a counter's family is without its ending.
            assert {known.name, known.name.removesuffix("_total")} & scraped, name


def _found(prometheus: Prometheus, query: str) -> list[dict[str, str]]:
    return [one["metric"] for one in prometheus.ask("query", query=query)["result"]]
