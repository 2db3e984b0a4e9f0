"""The rules of Prometheus and the queries of the dashboard, as their files have them."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "infra/prometheus/rules").glob("*.yml"))
BOARD_FILE = ROOT / "infra/grafana/fleet.json"

RULES: list[dict[str, Any]] = [
    rule
    for file in FILES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED: dict[str, dict[str, Any]] = {rule["record"]: rule for rule in RULES if "record" in rule}

BOARD: dict[str, Any] = json.loads(BOARD_FILE.read_text())
PANELS: list[dict[str, Any]] = [one for one in BOARD["panels"] if one["type"] != "row"]
QUERIES: list[tuple[str, str]] = [
    (panel["title"], query["expr"]) for panel in PANELS for query in panel["targets"]
]
"""Panel, PromQL."""
EVERYWHERE = [*(rule["expr"] for rule in RULES), *(expr for _, expr in QUERIES)]
