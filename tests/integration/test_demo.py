"""`jamak demo` as a user runs it: the whole mission, with a training and without a mock."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.demo.captions import caption
from infra.demo.clips import Clip, film
from infra.demo.scenes import single
from infra.local.metrics import read_metrics
from infra.local.procfile import ROOT
from shared.telemetry.metrics import ALL
from tests.telemetry import check_log, check_scrape, ports_told
from tests.waiting import wait_until
from tests.warm import run_warm

pytestmark = [pytest.mark.integration, pytest.mark.model]

JAMAK = [sys.executable, "-m", "producer.cli"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A temporary directory of our own: what is left in it is a fault."""
    (tmp_path / "tmp").mkdir()
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp")}


def test_the_whole_mission(environ: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*JAMAK, "demo", "--videos", "8", "--json"],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["videos"], said["captioned"], said["failed"]) == (8, 8, 0)
    assert said["exact_match"] >= 0.75
    assert {len(said["captions"]), *(one["adapter"] for one in said["captions"])} == {8, None}
    for one in said["captions"]:
        assert set(one) == {"key", "caption", "reference", "status", "adapter", "latency_s"}
        assert one["status"] == "ok"
    training = said["training"]
    assert set(training) == {"before", "after", "adapter", "picked_up_s"}
    assert training["before"] == 0
    assert training["after"] >= 0.6
    assert re.fullmatch("[0-9a-f]{12}", training["adapter"])
    # Workers look every few seconds: ten times what a quiet machine takes, as everywhere.
    assert 0 <= training["picked_up_s"] < 50
    assert "the way back" in done.stderr
    guarded = said["guarded"]
    assert guarded["reasons"][0].startswith("chrf got worse by")
    assert "of the adapter in use" in guarded["verdict"]  # more are bad, or they are far longer
    assert 0 < guarded["published"] < guarded["captions"]
    # 20 s where nothing else runs; ten times that, as everywhere.
    assert 0 < guarded["seconds"] < guarded["added_s"] < 200
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_fails_loudly_and_names_the_step(environ: dict[str, str], tmp_path: Path) -> None:
    with_small_limit = (
        "from infra.demo import cli\n"
        "Stack, limit = cli.LocalStack, {'JAMAK_MAX_VIDEO_BYTES': '10'}\n"
        "names = ['listener', 'captioner']\n"
        "cli.LocalStack = lambda extra_env: Stack(names, extra_env=extra_env | limit)\n"
        "from producer.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", with_small_limit, "demo", "--videos", "2", "--no-train", "--json"],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "captioning: 2 films got no caption" in done.stderr
    assert "too_large" in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["videos"], said["captioned"], said["failed"]) == (2, 0, 2)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def kept(environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """`jamak demo --keep`, up; the line that it tells the user to begin with."""
    log = tmp_path / "stderr"
    with (
        log.open("w") as stderr,
        (tmp_path / "stdout").open("w") as stdout,
        subprocess.Popen(
            [
                *(*JAMAK, "demo", "--videos", "1", "--no-train"),
                *("--card", "h100", "--keep", "--json"),
            ],
            env=environ,
            stdout=stdout,
            stderr=stderr,
        ) as process,
    ):
        try:
            wait_until(
                lambda: "jamak status" in log.read_text() or process.poll() is not None,
                120,
                "what to do next",
            )
            (line,) = re.findall(r"source \S+", log.read_text())
            yield line
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 128 + signal.SIGINT
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_a_user_can_do_while_it_is_kept(kept: str, tmp_path: Path) -> None:
    def in_a_shell(command: str) -> str:
        bash = ["bash", "-c", f"{kept}; {command}"]
        done = subprocess.run(
            bash, env={"PATH": os.defpath}, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "demo/film-1.mp4" in in_a_shell("jamak show s3://jamak-videos/demo/film-1.mp4")
    environ = dict(line.split("=", 1) for line in in_a_shell("env -0").split("\0") if line)

    def jamak(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_warm(["jamak", *arguments], environ, ROOT, 120)

    def told(*arguments: str) -> Any:
        done = jamak(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    # the budgets of all classes, on a CPU
    wait_until(lambda: (tmp_path / "stdout").read_text().endswith("\n"), 60, "its figures")
    budgets = json.loads((tmp_path / "stdout").read_text())["budgets"]
    assert [one["card"] for one in budgets] == ["t4", "l4", "a100", "h100"]
    assert [one["frames"] for one in budgets] == [4, 8, 16, 32]
    assert [one["visual_tokens"] for one in budgets] == [36, 72, 144, 288]
    assert all(one["caption"] == one["reference"] for one in budgets[1:])
    assert all(one["latency_s"] > 0 for one in budgets)
    assert "4,608" in (tmp_path / "stderr").read_text()
    # a video of one's own
    scene = single("black", "red", "circle", "rightwards")
    uri = "s3://jamak-videos/내 영상.mp4"
    mine = film(scene, Clip(7), tmp_path / "내 영상.mp4")
    assert jamak("show", uri).returncode == 2
    assert jamak("upload", str(mine), "s3://jamak-videos/").returncode == 0
    wait_until(lambda: jamak("show", uri).returncode == 0, 60, "its caption")
    assert caption(scene) in jamak("show", uri).stdout
    assert told("show", uri)["text"] == caption(scene)
    # which has its caption already
    again = told("enqueue", uri)
    assert (again["enqueued"], again["already"]) == (0, 1)
    # something that is no video
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    jamak("upload", str(broken), "s3://jamak-videos/")
    uri = "s3://jamak-videos/broken.mp4"
    wait_until(lambda: "not_a_video" in jamak("show", uri).stdout, 60, "its failure")
    assert jamak("show", uri).returncode == 1
    # how things stand
    status = told("status")
    assert [len(queue["workers"]) for queue in status["queues"].values()][-1] == 1
    assert all(queue["waiting"] == 0 for queue in status["queues"].values())
    assert told("adapters", "list") == {"in_use": [], "versions": [], "unreadable": []}
    assert jamak("adapters", "rollback").returncode == 2
    # a training that cannot succeed
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"id": "a", "videos": [{"uri": "a.mp4"}], "complection": "고양이"}')
    nowhere = jamak("train", "sft", "--data", "s3://jamak-output/set/manifest.jsonl")
    assert (nowhere.returncode, "does not exist" in nowhere.stderr) == (2, True)
    jamak("upload", str(manifest), "s3://jamak-output/set/")
    failed = jamak("train", "sft", "--data", "s3://jamak-output/set/manifest.jsonl", "--wait")
    assert (failed.returncode, "line 1: complection" in failed.stderr) == (1, True)
    # and whatever happened: each process exports what is its own, and its log is JSON
    (folder,) = (tmp_path / "tmp").glob("jamak-*")
    ports = ports_told(folder)
    assert set(ports) == set(ALL)
    for role in ALL:
        check_scrape(ports[role], role)
        assert check_log(folder / "logs" / f"{role}.log")
    ended = [one for one in read_metrics(ports["trainer"]) if one.name == "jamak_train_jobs_total"]
    assert [(one.labels, one.value) for one in ended] == [
        ({"outcome": "failed", "reason": "bad_data"}, 1)
    ]
