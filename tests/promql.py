"""What rules and panels ask for, as far as a test has to read it: names, labels, how they are put
together. Knows no arithmetic; promtool says whether a query is one at all."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.telemetry.metrics import KNOWN

OTHERS: dict[str, set[str]] = {
    # Prometheus itself.
    "ALERTS": {"alertname", "alertstate", "severity"},
    # KEDA 2.20, pkg/metricscollector/prommetrics.go.
    "keda_scaler_detail_errors_total": {
        "namespace", "metric", "scaledObject", "scaler", "triggerIndex", "type",
    },
    "keda_scaled_object_paused": {"namespace", "scaledObject"},
    # Karpenter's provider for AWS, pkg/controllers/interruption/metrics.go.
    "karpenter_interruption_received_messages_total": {"message_type"},
    # oliver006/redis_exporter.
    "redis_memory_used_bytes": set(),
    "redis_memory_max_bytes": set(),
    "redis_evicted_keys_total": set(),
}  # fmt: skip
"""What other programs export -> its labels."""
SCRAPED = {"instance", "job"}
"""Labels that a scrape adds."""
NAME = re.compile(r"\b(?:jamak|keda|karpenter|redis)[:_][\w:]+|\bALERTS\b")
SELECTOR = re.compile(rf"(?P<name>{NAME.pattern})(?:\{{(?P<matchers>[^}}]*)\}})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


@dataclass(frozen=True)
class Selected:
    name: str
    labels: frozenset[str]
    """That it is chosen by."""
    before: str
    """What stands in front of it, without spaces."""


def selected(expr: str) -> Iterator[Selected]:
    for found in SELECTOR.finditer(expr):
        labels = frozenset(MATCHER.findall(found["matchers"] or ""))
        yield Selected(found["name"], labels, re.sub(r"\s", "", expr[: found.start()]))


def labels_of(name: str) -> set[str] | None:
    """None: nobody exports it."""
    if name in OTHERS:
        return OTHERS[name]
    known = KNOWN.get(name)
    if known is None and name.endswith(("_bucket", "_sum", "_count")):
        whole, _, part = name.rpartition("_")
        known = KNOWN.get(whole)
        if known and known.kind == "histogram":
            return {*known.labels, *({"le"} if part == "bucket" else ())}
        return None
    return set(known.labels) if known and known.kind != "histogram" else None


def of_the_whole_fleet(name: str) -> bool:
    """Whether each of several processes says the same: none of them has it for itself."""
    known = KNOWN.get(name)
    return known is not None and known.metric is None and not name.startswith("jamak_process_")


ALIKE = re.compile(r"(?:(?:max|min)(?:by\([\w,]*\))?|absent|max_over_time)\($")


def counted_twice(expr: str) -> list[str]:
    """What would be twice as much with two feeders."""
    return [
        one.name
        for one in selected(expr)
        if of_the_whole_fleet(one.name) and not ALIKE.search(one.before)
    ]
