"""A real Prometheus on a loopback port, with our rules, that scrapes what it is told to.

For tests, and for the picture in the docs. Knows nothing of what is scraped.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from infra.debian import find_program
from infra.local.ports import LOOPBACK, on_free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT
from shared.errors import ConfigError

RULES = ROOT / "infra/prometheus/rules"
START_S = 30.0
ANSWER_S = 10.0


@dataclass(frozen=True)
class Prometheus:
    process: Process
    port: int

    def ask(self, path: str, **arguments: "str | float") -> Any:
        """The `data` of an answer of its API.

        Raises:
            OSError: it does not answer, or the query is wrong.
        """
        url = f"http://{LOOPBACK}:{self.port}/api/v1/{path}?{urlencode(arguments)}"
        with urlopen(url, timeout=ANSWER_S) as answer:  # its own port
            return json.load(answer)["data"]

    def stop(self) -> None:
        stop([self.process])


def start_prometheus(
    folder: Path, ports: Mapping[str, Sequence[int]], *, every: str, rules: Path = RULES
) -> Prometheus:
    """Its data, configuration and log are kept in the folder.

    Args:
        ports: job -> where its processes answer.
        every: so often it scrapes and evaluates, as in "1s".

    Raises:
        ConfigError: it is not installed.
        ProcessFailed: it does not start, for example because it cannot read the rules.
    """
    program = find_program("prometheus")
    if program is None:
        raise ConfigError("no prometheus is on PATH", cure="Run: python -m infra.debian")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(
        json.dumps(  # which is YAML, too
            {
                "global": {"scrape_interval": every, "evaluation_interval": every},
                "rule_files": [str(file) for file in sorted(rules.glob("*.yml"))],
                "scrape_configs": [
                    {
                        "job_name": job,
                        "static_configs": [{"targets": [f"{LOOPBACK}:{port}" for port in its]}],
                    }
                    for job, its in ports.items()
                ],
            }
        )
    )

    def start(port: int) -> Prometheus:
        process = Process(
            "prometheus",
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={LOOPBACK}:{port}",
            ],
            log=folder / "prometheus.log",
            env=dict(os.environ),
            cwd=folder,
        )
        started = Prometheus(process, port)
        process.wait_until(lambda: _answers(started), START_S)
        return started

    return on_free_port(start)


def _answers(started: Prometheus) -> bool:
    try:
        started.ask("status/buildinfo")
    except OSError:
        return False
    return True
