"""Grafana's JSON of the dashboard, through its own types, so that no field is misspelt.

Knows nothing of what the panels ask.
"""

import json
from itertools import count
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

from infra.grafana.panels import ROWS, Panel, Row

COLUMNS = 24
"""Of Grafana's grid."""
HEIGHTS = {"stat": 4, "timeseries": 8}
"""In its units."""
SOURCE = DataSourceRef("prometheus", "${datasource}")
"""Whoever looks chooses it."""


def fleet_json() -> str:
    return json.dumps(_fleet().build(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _fleet() -> dashboard.Dashboard:
    board = (
        dashboard.Dashboard("Jamak: the fleet")
        .uid("jamak-fleet")
        .description("What waits, who works, and how captions come out (docs/operations.md).")
        .tags(["jamak"])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    ids = count(1)
    for row in ROWS:
        board.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            board.with_panel(_panel(panel, _width(row)).id(next(ids)))
    return board


def _width(row: Row) -> int:
    kinds = {panel.kind for panel in row.panels}
    abreast = len(row.panels) if kinds == {"stat"} else 2 if len(row.panels) % 3 else 3
    return COLUMNS // abreast


def _panel(panel: Panel, width: int) -> "stat.Panel | timeseries.Panel":
    made = _stat(panel) if panel.kind == "stat" else _timeseries(panel)
    made.title(panel.title).description(panel.description).unit(panel.unit)
    made.datasource(SOURCE).span(width).height(HEIGHTS[panel.kind])
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        made.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(letter)
            .datasource(SOURCE)
        )
    return made


def _stat(panel: Panel) -> stat.Panel:
    steps = [Threshold(None, "green")]
    if panel.good:
        yellow, red = panel.good
        steps += [Threshold(yellow, "yellow"), Threshold(red, "red")]
    return (
        stat.Panel()
        .graph_mode(BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )


def _timeseries(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .min(0)
        .line_width(1)
        .fill_opacity(30 if panel.stacked else 5)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return made
