"""The programs that show what delivery is worth still run, in seconds."""

import json
import subprocess
import sys
from typing import Any

import pytest

from infra.local.procfile import ROOT

pytestmark = pytest.mark.integration


def run(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_delivery() -> None:
    report = run("delivery")["jamak"]
    assert report["jobs"] == 16
    for nothing in ("lost_before_reconcile", "lost", "published_twice", "rejected_healthy"):
        assert report[nothing] == 0


def test_dispatch() -> None:
    found = run("dispatch")
    assert set(found) == {"jamak", "celery"}
    for figures in found.values():
        assert figures["cpu_ms_per_task"] > 0
        assert figures["start_ms_p50"] > 0
