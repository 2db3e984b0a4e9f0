"""Every wait of every process and every command ends on the first signal.

All are started at once, each against a server that is not there or does not answer; then each gets
one signal. Without what is tested here, they would go on for minutes or for ever.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.local.ports import free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT, read_procfile
from shared.broker.apps import queues_of
from tests.silent import Silent, silent_server
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration

PATIENCE_S = 20.0
"""Of a slow machine; far less than these waits would take."""


@dataclass
class Waiting:
    process: Process
    began: Callable[[], object]
    """It waits."""

    def end(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        wait_until(self.began, 90, f"{self.process.name} to wait")
        self.process.signal_group(number)
        wait_until(
            lambda: self.process.poll() is not None, PATIENCE_S, f"{self.process.name} to end"
        )
        return self.process.poll()


@pytest.fixture(scope="module")
def waiting(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Waiting]]:
    folder = tmp_path_factory.mktemp("waits")
    started: dict[str, Waiting] = {}
    nothing = f"redis://127.0.0.1:{free_port()}/0"

    def start(
        name: str, command: list[str], began: Callable[[Process], object], **env: str
    ) -> None:
        (folder / name).mkdir()
        process = Process(
            name,
            command,
            log=folder / name / "log",
            env={
                **os.environ,
                **world.env,
                "TMPDIR": str(folder / name),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **env,
            },
            cwd=ROOT,
        )
        started[name] = Waiting(process, lambda: began(process))

    def said(text: str) -> Callable[[Process], object]:
        return lambda process: text in process.log.read_text()

    def asked(server: Silent) -> Callable[[Process], object]:
        return lambda process: server.connections

    procfile = {name: ["sh", "-c", line] for name, line in read_procfile().items()}
    queue = f"{world.aws['AWS_ENDPOINT_URL']}/123456789012/none"
    jamak = [sys.executable, "-m", "producer.cli"]
    with ExitStack() as servers:
        silent = [servers.enter_context(silent_server()) for _ in range(3)]
        url = [f"redis://127.0.0.1:{one.port}/0" for one in silent]
        there = urlsplit(world.redis_url)
        hushing = servers.enter_context(silent_server(there.port))
        through = world.redis_url.replace(f":{there.port}", f":{hushing.port}")
        try:
            start("captioner", procfile["captioner"], said("waiting for"), JAMAK_REDIS_URL=nothing)
            start(
                "listener",
                procfile["listener"],
                asked(silent[0]),
                JAMAK_REDIS_URL=url[0],
                JAMAK_EVENTS_QUEUE_URL=queue,
            )
            s3 = f"http://127.0.0.1:{silent[1].port}"
            start("feeder", procfile["feeder"], asked(silent[1]), AWS_ENDPOINT_URL=s3)
            s3 = f"http://127.0.0.1:{silent[2].port}"
            enqueue = [*jamak, "enqueue", "s3://bucket/prefix/"]
            start("enqueue", enqueue, asked(silent[2]), AWS_ENDPOINT_URL=s3)

            def taking(process: Process) -> bool:
                if not hushing.hushed.is_set() and said("taking work")(process):
                    hushing.hush()
                return hushing.hushed.is_set()

            start("trainer", procfile["trainer"], taking, JAMAK_REDIS_URL=through)
            yield started
        finally:
            stop([one.process for one in started.values()], patience_s=0.5)


@pytest.mark.parametrize("name", ["captioner", "listener", "feeder"])
def test_a_process_that_waits_for_a_server_ends(waiting: dict[str, Waiting], name: str) -> None:
    assert waiting[name].end() == 0


def test_an_idle_worker_ends_although_redis_fell_silent(
    waiting: dict[str, Waiting], world: World
) -> None:
    trainer = waiting["trainer"]
    assert trainer.end(signal.SIGINT) == 0
    assert not list(trainer.process.log.parent.glob("jamak-*"))  # no scratch is left


def test_a_command_that_waits_for_s3_ends(waiting: dict[str, Waiting]) -> None:
    assert waiting["enqueue"].end() == 143
    assert "Traceback" not in waiting["enqueue"].process.log.read_text()


def test_a_command_that_waits_for_redis_ends(world: World, tmp_path: Path) -> None:
    with silent_server() as silent:
        # It gives up by itself after some seconds, so it gets its signal at once.
        process = Process(
            "status",
            [sys.executable, "-m", "producer.cli", "status"],
            log=tmp_path / "log",
            env={
                **os.environ,
                **world.env,
                "JAMAK_REDIS_URL": f"redis://127.0.0.1:{silent.port}/0",
            },
            cwd=ROOT,
        )
        assert Waiting(process, lambda: silent.connections).end(signal.SIGINT) == 130
    assert "Traceback" not in process.log.read_text()


def test_a_command_that_waits_for_an_outcome_ends(world: World, tmp_path: Path) -> None:
    world.store.put(world.videos, "data.jsonl", b"{}")
    queues = queues_of(world.training)
    before = queues.waiting("train")
    process = Process(
        "train",
        [
            *(sys.executable, "-m", "producer.cli", "train", "sft"),
            *("--data", f"s3://{world.videos}/data.jsonl", "--wait"),
        ],
        log=tmp_path / "log",
        env={**os.environ, **world.env},
        cwd=ROOT,
    )
    try:
        assert Waiting(process, lambda: queues.waiting("train") > before).end() == 143
    finally:
        stop([process], patience_s=0.5)
