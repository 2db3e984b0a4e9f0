"""`jamak doctor`: is everything there that Jamak needs, and what to do where it is not."""

import os
from dataclasses import asdict

import typer
from pydantic import ValidationError
from rich.markup import escape

from producer.verbs.checks import Found, checks_of, examine
from producer.verbs.console import AsJson, Grid, out, print_json
from shared.broker_settings import PREFIX
from shared.errors import ConfigError
from shared.language import spoken
from shared.settings import Settings, unknown_variables
from shared.settings_errors import wrong_variables
from shared.shown import for_people

COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def doctor(as_json: AsJson = False) -> None:
    """Check Redis, buckets, queue, model, card and clock; say what to do about each fault.

    Ends with 78 if something has to be configured.
    """
    found = look()
    failed = [one for one in found if one.status == "failed"]
    if as_json:
        print_json(
            {
                "ok": not failed,
                "checks": [asdict(one) for one in found],
                **({"error": _error(len(failed))} if failed else {}),
            }
        )
    elif out.is_terminal:
        out.print(_table(found))
    else:
        for one in found:
            told = (
                one.status,
                one.check,
                spoken(one.found),
                *([spoken(one.cure)] * bool(one.cure)),
            )
            print("\t".join(map(for_people, told)))
    if failed:
        raise typer.Exit(ConfigError.exit_code)


def _error(failed: int) -> dict[str, object]:
    """As every verb's failure looks to programs."""
    return {
        "reason": "not_ready",
        "message": f"{failed} checks failed",
        "cure": "Each of them has its own.",
        "exit_code": ConfigError.exit_code,
    }


def look() -> list[Found]:
    found = [
        Found("settings", "warning", warning, "Correct its name, or remove it.")
        for warning in unknown_variables(os.environ).values()
    ]
    try:
        settings, wrong = Settings(), set[str]()
        found.append(Found("settings", "ok", "can be read"))
    except ValidationError as error:
        faults = wrong_variables(error)
        found += [
            Found("settings", "failed", f"{name}: {what}", "See docs/configuration.md.")
            for name, what in faults.items()
        ]
        settings, wrong = _without(faults)
    checks = [
        (name, ask)
        for name, ask in checks_of(settings)
        # What depends on a setting that cannot be read would be checked with another value.
        if not any(name.startswith(part) for part in wrong)
    ]
    return found + examine(checks)


DEPENDING = {
    "REDIS_URL": {"redis", "clock and Redis"},
    "REDIS_CA_FILE": {"redis", "clock and Redis"},
    "OUTPUT": {"bucket", "store", "clock and S3"},
    "OUTPUTS": {"bucket", "store"},
    "SOURCES": {"bucket"},
    "MODEL_PATH": {"model"},
    "CARD": {"card"},
    "DEVICE": {"card"},
}
"""Setting -> the checks that it decides, by how their names begin."""


def _without(faults: dict[str, str]) -> tuple[Settings, set[str]]:
    """The rest of the settings, and the checks that they cannot decide."""
    kept = {}
    for name in list(os.environ):
        if name.upper() in faults:
            kept[name] = os.environ.pop(name)
    try:
        settings = Settings()
    finally:
        os.environ.update(kept)
    parts = (DEPENDING.get(name.removeprefix(PREFIX), set()) for name in faults)
    return settings, set().union(*parts)


def _table(found: list[Found]) -> Grid:
    table = Grid("check", "", "found", "what to do")
    for one in found:
        status = f"[{COLOURS[one.status]}]{one.status}[/]"
        table.add_row(
            escape(one.check), status, escape(spoken(one.found)), escape(spoken(one.cure))
        )
    return table
