"""The dashboard's file is what the program makes, and Grafana can show all that is on it."""

import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any, cast, get_args
from xml.etree import ElementTree

import pytest
import yaml

from infra.grafana.board import COLUMNS, fleet_json
from infra.grafana.panels import ROWS, Unit
from infra.grafana.picture import draw
from infra.local.prometheus import Prometheus
from tests.programs import need
from tests.promql import SCRAPED, counted_twice, labels_of, selected
from tests.rules import BOARD, BOARD_FILE, PANELS, QUERIES, RECORDED

LABEL = re.compile(r"\{\{(\w+)\}\}")


def test_the_file_is_what_the_program_makes() -> None:
    assert BOARD_FILE.read_text() == fleet_json(), (
        "run: python -m infra.grafana > infra/grafana/fleet.json"
    )


def test_ids_and_titles_are_there_once() -> None:
    ids = [one["id"] for one in BOARD["panels"]]
    titles = [one["title"] for one in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    assert 8 <= len(BOARD["uid"]) <= 40
    assert sum(len(row.panels) for row in ROWS) == len(PANELS)


def test_panels_fit_the_grid_and_no_two_lie_on_one_another() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        columns, rows = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        return {(x, y) for x in columns for y in rows}

    for one, other in combinations(BOARD["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])
    assert all(x < COLUMNS for one in BOARD["panels"] for x, _ in cells(one))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_of_which_source(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in get_args(Unit)
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert [one["datasource"] for one in (panel, *panel["targets"])] == [source] * (
        1 + len(panel["targets"])
    )
    assert len({one["refId"] for one in panel["targets"]}) == len(panel["targets"])
    legends = [one["legendFormat"] for one in panel["targets"]]
    assert all(legends)
    assert len(set(legends)) == len(legends)


def test_the_only_variable_is_the_source() -> None:
    (variable,) = BOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )


@pytest.mark.parametrize(("title", "expr"), QUERIES)
def test_a_panel_asks_for_what_is_exported(title: str, expr: str) -> None:
    for one in selected(expr):
        if one.name in RECORDED:
            continue
        labels = labels_of(one.name)
        assert labels is not None, f"nobody exports {one.name}"
        assert one.labels <= labels | SCRAPED, one.name
    assert counted_twice(expr) == []


def test_a_legend_names_labels_that_are_left() -> None:
    for panel in PANELS:
        for query in panel["targets"]:
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", query["expr"]))))
            assert set(LABEL.findall(query["legendFormat"])) <= kept, panel["title"]


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:query_{at}", "expr": expr.replace("$__rate_interval", "1m")}
        for at, (_, expr) in enumerate(QUERIES)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    ended = subprocess.run(
        [need("promtool"), "check", "rules", str(file)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


class Answering:
    """In place of a Prometheus: two lines to every query, with a gap and with values that are no
    numbers."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, path: str, **arguments: Any) -> Any:
        assert (path, arguments["start"], arguments["end"]) == ("query_range", 1000.0, 1600.0)
        self.asked.append(arguments["query"])
        with_gap = [[at, str(at / 10)] for at in (1000, 1005, 1200, 1205)]
        odd = [[1000, "NaN"], [1005, "7"], [1010, "+Inf"]]
        return {
            "result": [
                {"metric": {"queue": "caption.<l4>"}, "values": with_gap},
                {"metric": {}, "values": odd},
            ]
        }


def test_the_picture_shows_every_panel_with_what_was_answered() -> None:
    prometheus = Answering()
    svg = draw(cast(Prometheus, prometheus), 1000.0, 1600.0, "two & a half")
    assert not any("$" in query for query in prometheus.asked)
    assert len(prometheus.asked) == len(QUERIES)
    drawn = ElementTree.fromstring(svg)
    told = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {one["title"] for one in BOARD["panels"]} <= set(told)
    assert {"two & a half", "caption.<l4>"} <= set(told)
    assert "NaN" not in svg
    lines = list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))
    graphs = [query for panel in PANELS if panel["type"] != "stat" for query in panel["targets"]]
    assert len(lines) == 3 * len(graphs)  # one of them in two pieces
