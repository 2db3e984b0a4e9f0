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


def test_enqueue() -> None:
    found = run("enqueue")
    assert (found["jamak"]["ids_missing"], found["jamak"]["ids_twice"]) == (0, 0)
    assert found["jamak"]["keys_per_s"] > 0
    assert found["jamak"]["redis_peak_mib"] < 32


def test_frames() -> None:
    rows = run("frames")["cases"]
    assert {row["library"] for row in rows} == {"jamak", "pyav"}
    assert all(row["identical"] and row["cpu_s"] > 0 for row in rows)


def test_ingest() -> None:
    found = run("ingest")
    assert found["records"] == found["videos"]
    assert found["dead_lettered"] == found["malformed"] > 0
    assert (found["duplicates_published"], found["left_in_sqs"]) == (0, 0)


def test_scale() -> None:
    sizes = run("scale")["sizes"]
    assert [one["keys"] for one in sizes] == [4000, 20_000, 40_000]


def test_scenes() -> None:
    (ours,) = (row for row in run("scenes")["cases"] if row["detector"] == "jamak")
    assert (ours["recall"], ours["precision"]) == (1.0, 1.0)
    assert ours["cpu_s"] > 0


def test_source() -> None:
    rows = run("source")["cases"]
    assert {row["chosen"] for row in rows} == {"whole"}  # it is small
    assert all(row["bytes_share"] == 1.0 for row in rows)


def test_decoders() -> None:
    found = run("decoders")
    assert all(row["videos_per_s"] > 0 for row in found["decoders"])
    assert len(found["decoders"]) == 3


def test_parity() -> None:
    found = run("parity")
    assert all(row["share"] >= 0.8 for row in found["same"])
