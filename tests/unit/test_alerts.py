"""Rules and alerts of Prometheus: promtool reads them, each alert fires in one of its tests and
stays silent in another, and what they ask for is what processes export."""

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.prometheus.operator import manifests
from producer.scaling.answers import STALE_S
from shared.scale_settings import ScaleSettings
from tests.programs import need
from tests.promql import SCRAPED, counted_twice, labels_of, selected
from tests.rules import ALERTS, FILES, RECORDED, ROOT, RULES

KUBERNETES = ROOT / "infra/kubernetes"
TESTS = sorted((ROOT / "infra/prometheus/tests").glob("*.yml"))


def promtool(*arguments: "str | Path") -> None:
    command = [need("promtool"), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promtool_reads_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *FILES)


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", *TESTS)


def test_each_alert_fires_in_one_test_and_is_silent_throughout_another() -> None:
    fires, silent = defaultdict(set), defaultdict(set)
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            by_alert = defaultdict(list)
            for one in test["alert_rule_test"]:
                by_alert[one["alertname"]] += one["exp_alerts"]
            for alert, expected in by_alert.items():
                (fires if expected else silent)[alert].add(test["name"])
    assert set(fires) == set(silent) == set(ALERTS)


def test_no_two_rules_have_one_name() -> None:
    assert len(ALERTS) + len(RECORDED) == len(RULES)
    assert all(re.fullmatch("Jamak([A-Z][a-z0-9]+)+", name) for name in ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    for one in selected(rule["expr"]):
        if one.name in RECORDED:
            continue
        labels = labels_of(one.name)
        assert labels is not None, f"nobody exports {one.name}"
        assert one.labels <= labels | SCRAPED, one.name
    assert counted_twice(rule["expr"]) == []


def test_what_is_promised_is_what_the_scaler_promises() -> None:
    promised = ScaleSettings.model_fields["slo_s"].default
    assert RECORDED["jamak:slo_seconds"]["expr"] == f"vector({promised:.0f})"
    (stale,) = re.findall(r"> (\d+)$", ALERTS["JamakScalerStale"]["expr"])
    assert float(stale) == STALE_S


def test_what_would_count_twice_is_found() -> None:
    assert counted_twice("sum(jamak_queue_messages)") == ["jamak_queue_messages"]
    assert counted_twice("jamak_workers > 1") == ["jamak_workers"]
    assert counted_twice("max by (queue) (jamak_queue_messages) > 0") == []
    assert counted_twice("sum(rate(jamak_captions_total[5m]))") == []
    assert labels_of("jamak_no_such_total") is None


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_who_is_to_be_woken_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"


def test_promtool_reads_the_configuration() -> None:
    promtool("check", "config", ROOT / "infra/prometheus/prometheus.yml")


def test_the_operator_of_prometheus_gets_all_rules_and_the_pods_of_the_manifests() -> None:
    pods, rules = yaml.safe_load_all(manifests())
    told = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert told == RULES
    pod = yaml.safe_load((KUBERNETES / "pod/pod.yaml").read_text())["spec"]["template"]
    ports = pod["spec"]["containers"][0]["ports"]
    assert [one["port"] for one in pods["spec"]["podMetricsEndpoints"]] == [
        one["name"] for one in ports
    ]
    (space,) = pods["spec"]["namespaceSelector"]["matchNames"]
    named = yaml.safe_load((KUBERNETES / "base/namespace.yaml").read_text())
    assert named["metadata"]["name"] == space


@pytest.mark.parametrize("alert", ["JamakKedaErrors", "JamakKedaPaused"])
def test_what_is_said_of_keda_is_said_of_our_objects(alert: str) -> None:
    (chosen,) = re.findall('scaledObject=~"([^"]+)"', ALERTS[alert]["expr"])
    for file in ("captioner/scaledobject.yaml", "trainer/scaledjob.yaml"):
        scaled = yaml.safe_load((KUBERNETES / file).read_text())
        assert re.fullmatch(chosen, scaled["metadata"]["name"])
