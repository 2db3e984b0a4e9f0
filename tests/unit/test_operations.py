"""The page for people who run a fleet: its alerts, its commands and its sums."""

import json
import math
import re
from importlib.metadata import entry_points

import pytest
import typer
from typer.core import TyperGroup

from tests.rules import ALERTS, ROOT

TEXT = (ROOT / "docs/operations.md").read_text()
TYPED = sorted(
    {
        *re.findall(r"`(jamak [^`\n]+)`", TEXT),
        *re.findall(r"^\$ (jamak [^#|\n]+)", TEXT, re.MULTILINE),
    }
)
PARTS = ["What people see", "How to look", "What to do"]


def test_the_runbook_has_each_alert_and_no_other() -> None:
    assert sorted(re.findall("^### (Jamak\\w+)$", TEXT, re.MULTILINE)) == sorted(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_told_in_three_parts(alert: str) -> None:
    (told,) = re.findall(f"^### {alert}\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\*\*([\w ]+)\.\*\*", told, re.MULTILINE) == PARTS


@pytest.mark.parametrize("line", TYPED)
def test_commands_that_are_to_be_typed_are_there(line: str) -> None:
    _, verb, *words = line.split()
    found = entry_points(group="jamak.verbs")[verb].load()
    if not isinstance(found, typer.Typer):
        app = typer.Typer()
        app.command()(found)
        found = app
    command = typer.main.get_command(found)
    for word in words:
        if word.startswith("--"):
            options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
            assert word in options, line
        elif isinstance(command, TyperGroup):
            assert word in command.commands, line
            command = command.commands[word]


def test_the_table_of_machines_is_what_cards_and_prices_give() -> None:
    cards = (ROOT / "docs/cards.md").read_text()
    default = cards[cards.index("the default model") :]
    prices = json.loads((ROOT / "shared/prices.json").read_text())["usd_per_hour"]
    rows = re.findall(r"^\| (t4|l4|a100|h100) \|(.*)\|$", default, re.MULTILINE)[:4]
    for name, cells in rows:
        _, _, frames, *_, seconds = (cell.strip() for cell in cells.split("|"))
        hourly = 3600 / float(seconds)
        cards_a_day = math.ceil(1e6 / (24 * hourly))
        row = f"| {frames} | {seconds} | {hourly:,.0f} | {1000 * prices[name] / hourly:.2f} |"
        assert f"| {name} {row} {cards_a_day} |" in TEXT
    assert len(rows) == 4
