"""The local stack starts what it says, and leaves nothing behind however it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.local.ports import on_free_port
from infra.local.processes import Process, ProcessFailed, stop
from infra.local.procfile import read_procfile
from infra.local.stack import LocalStack
from shared.errors import ConfigError
from tests.telemetry import check_log, check_scrape, ports_told
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

LISTEN = "0A"
"""include/net/tcp_states.h"""


def alive(pid: int) -> bool:
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def children(parent: int) -> set[int]:
    """Of the process, and theirs."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue
    found: set[int] = set()
    new = {parent}
    while new:
        new = {pid for pid, its in parents.items() if its in new} - found
        found |= new
    return found


def _stat(pid: int) -> list[str]:
    """State, parent and so on: what follows the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def listening() -> set[tuple[str, int]]:
    """(address in hexadecimal, port) of every listening TCP socket of this machine."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, port = local.split(":")
            if state == LISTEN:
                found.add((address, int(port, 16)))
    return found


@pytest.fixture(scope="module")
def servers() -> Iterator[LocalStack]:
    with LocalStack(processes=()) as stack:
        yield stack


def test_everything_listens_on_loopback_only(servers: LocalStack) -> None:
    for port in (servers.redis.port, servers.s3.port):
        assert {address for address, its in listening() if its == port} == {"0100007F"}


def test_redis_wants_its_password(servers: LocalStack) -> None:
    with (
        redis.Redis(port=servers.redis.port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    assert servers.redis.password not in _command_line(servers.redis.process.pid)


def test_redis_keeps_every_message(servers: LocalStack) -> None:
    with redis.Redis.from_url(servers.redis_url, decode_responses=True) as client:
        settings = client.config_get("appendonly", "maxmemory-policy")
    assert settings == {"appendonly": "yes", "maxmemory-policy": "noeviction"}


def test_an_upload_and_a_removal_reach_the_queue(servers: LocalStack) -> None:
    s3, sqs = servers.s3.s3(), servers.s3.sqs()
    bucket, key = servers.videos_bucket, "영상 1.mp4"
    version = s3.put_object(Bucket=bucket, Key=key, Body=b"video")["VersionId"]
    # moto tells nobody of delete markers
    s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
    events: list[str] = []

    def received() -> bool:
        answer = sqs.receive_message(
            QueueUrl=servers.queue_url, WaitTimeSeconds=1, MaxNumberOfMessages=10
        )
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            events.extend(record["eventName"] for record in body.get("Records", []))
        return len(events) >= 2

    wait_until(received, 10, "both events")
    assert events == ["ObjectCreated:Put", "ObjectRemoved:Delete"]


def test_the_bucket_keeps_versions(servers: LocalStack) -> None:
    state = servers.s3.s3().get_bucket_versioning(Bucket=servers.videos_bucket)
    assert state["Status"] == "Enabled"


def test_settings_of_the_caller_do_not_come_in(
    servers: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("JAMAK_GENERATION", "7")
    assert not {"AWS_PROFILE", "JAMAK_GENERATION"} & servers.environ.keys()
    assert servers.environ["AWS_ENDPOINT_URL"] == servers.s3.endpoint


def test_a_failed_start_shows_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = children(os.getpid())
    with pytest.raises(ProcessFailed, match=r"listener ended with exit code 78") as failed:
        LocalStack(processes=["listener"], extra_env={"JAMAK_OUTPUT": "nonsense"}).__enter__()
    assert "JAMAK_OUTPUT" in str(failed.value)
    (line,) = str(failed.value).splitlines()[1:]
    assert json.loads(line)["event"] == "refusing to start"
    assert children(os.getpid()) == before
    assert list(tmp_path.iterdir()) == []


@contextmanager
def started_by_a_user(tmp_path: Path, *names: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m infra.local`, up; and what it printed. It ends with the test, failed or not."""
    with subprocess.Popen(
        [sys.executable, "-m", "infra.local", *names],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            printed = []
            for line in process.stdout:
                printed.append(line)
                if line.startswith("export JAMAK_ADAPTER_POLL_S"):
                    break
            yield process, "".join(printed)
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with started_by_a_user(tmp_path, "trainer") as (process, exports):
        started = children(process.pid)
        assert len(started) == 3
        (folder,) = tmp_path.glob("jamak-*")
        check_scrape(ports_told(folder)["trainer"], "trainer")
        log = folder / "logs" / "trainer.log"
        assert "taking work" in [said["event"] for said in check_log(log)]
        process.send_signal(number)
        process.wait(timeout=200)
    wait_until(lambda: not any(alive(pid) for pid in started), 5, "the end of its processes")
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", exports)}
    assert len(ports) == 2
    assert not ports & {port for _, port in listening()}
    if number is not signal.SIGKILL:  # nobody is left who could remove it
        assert list(tmp_path.iterdir()) == []


def test_what_ends_takes_its_children_with_it(tmp_path: Path) -> None:
    process = Process(
        "parent",
        ["/bin/sh", "-c", "sleep 1000 & exec sleep 1000"],
        log=tmp_path / "log",
        env=dict(os.environ),
        cwd=tmp_path,
    )
    wait_until(lambda: children(process.pid), 10, "its child")
    (child,) = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: process.poll() == -signal.SIGKILL, 10, "its end")
    wait_until(lambda: not alive(child), 10, "the end of its child")


def test_what_does_not_want_to_end_is_killed(tmp_path: Path) -> None:
    process = Process(
        "stubborn",
        ["/bin/sh", "-c", "trap '' TERM; echo up; while true; do sleep 0.1; done"],
        log=tmp_path / "log",
        env=dict(os.environ),
        cwd=tmp_path,
    )
    process.wait_until(lambda: "up" in process.log.read_text(), 10)
    stop([process], patience_s=0.2)
    assert process.poll() == -signal.SIGKILL


def test_what_is_not_ready_in_time_is_stopped(tmp_path: Path) -> None:
    process = Process(
        "slow",
        ["/bin/sh", "-c", "echo still loading; exec sleep 1000"],
        log=tmp_path / "log",
        env=dict(os.environ),
        cwd=tmp_path,
    )
    wait_until(lambda: "loading" in process.log.read_text(), 10, "its first words")
    with pytest.raises(ProcessFailed, match=r"(?s)slow is not ready after 0 s.*still loading"):
        process.wait_until(lambda: False, 0.1)
    assert process.poll() is not None


def test_a_port_that_is_taken_is_not_the_end() -> None:
    tried = []

    def start(port: int) -> int:
        tried.append(port)
        if len(tried) == 1:
            raise ProcessFailed("bind: Address already in use")
        return port

    assert on_free_port(start) == tried[1]


def test_the_procfile_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("# why\n\nweb: exec serve --port 80:80\nworker: exec work\n")
    assert read_procfile(path) == {"web": "exec serve --port 80:80", "worker": "exec work"}
    with pytest.raises(ConfigError, match="there is no"):
        read_procfile(tmp_path / "nothing")


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
