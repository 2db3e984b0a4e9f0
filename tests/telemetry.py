"""What a process says about itself, as the programs that read it see it."""

import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from infra.local.metrics import ask
from shared.telemetry.metrics import Role
from shared.telemetry.page import documented


def check_scrape(port: int, role: Role) -> None:
    """Its metrics are those of its role, and nothing else: no zeros of other processes."""
    text = ask(port, "/metrics")[1]
    families = list(text_string_to_metric_families(text))
    assert {f"{one.name}{'_total' if one.type == 'counter' else ''}" for one in families} == (
        documented(role)
    )
    samples = [sample for family in families for sample in family.samples]
    assert not [sample.name for sample in samples if sample.name.endswith("_created")]
    (build,) = (sample for sample in samples if sample.name == "jamak_build_info")
    assert (build.labels["role"], build.value) == (role, 1)
    assert not [one for one in samples if one.name == "jamak_scrape_error" and one.value]
    assert ask(port, "/livez") == (200, '{"ok": true, "reason": null}\n')


def check_log(log: Path) -> list[dict[str, object]]:
    """Every line of it is a log line."""
    return [_parse(line) for line in log.read_text().split("\n") if line]


def _parse(line: str) -> dict[str, object]:
    try:
        said = json.loads(line, parse_constant=_refuse)
    except ValueError as error:
        raise AssertionError(f"no JSON: {line!r}") from error
    assert {"level", "timestamp", "event"} <= said.keys(), line
    return dict(said)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is none of JSON")


def ports_told(folder: Path) -> dict[str, int]:
    """Role -> metrics port, of the processes of the stack in this folder, which has their logs."""
    return {
        log.stem: int(str(said["port"]))
        for log in (folder / "logs").glob("*.log")
        for said in check_log(log)
        if said["event"] == "answering probes"
    }
