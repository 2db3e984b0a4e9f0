"""Whoever speaks in a process of ours: every line is a JSON object."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.telemetry import check_log

PROGRAM = """
import logging, os, sys, threading, time, warnings
from shared import telemetry
telemetry.log_everything("info")

log = telemetry.get_logger("jamak.test")
log.info("ours", key="영상 \\ud800\\u2028\\n.mp4", loss=float("nan"), deep=[{1: float("-inf")}])
try:
    1 / 0
except ZeroDivisionError:
    log.exception("with a trace")
    logging.getLogger("library").exception("of a library, %s", "with arguments")
logging.getLogger("library").info("%d", "no number")  # logging itself complains
warnings.warn("an old\\nhabit", UserWarning)
print("printed\\nin two lines")
print("in ", end=""), print("pieces", flush=True)
print(), print("   ")
sys.stderr.write("to stderr\\n")
sys.stdout.writelines(["many\\n", "lines\\n"])
print("x" * 30_000)
for percent in range(3):
    print(f"\\r{percent} %", end="")
print()
from tqdm import tqdm
for _ in tqdm(range(100)):
    pass

def fails():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=fails, name="some-thread")
thread.start()
thread.join()

class Bad:
    def __del__(self):
        raise RuntimeError("while it goes")
bad = Bad()
del bad
telemetry.log_everything("warning")  # again, with the level that was asked for
log.info("not any more")
os.fstat(sys.stderr.fileno())
raise KeyError("the end")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("log")
    file, program = folder / "log", folder / "program.py"
    program.write_text(PROGRAM)
    with file.open("wb") as log:
        done = subprocess.run(
            [sys.executable, program],
            env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            stdout=log,
            stderr=log,
            timeout=120,
        )
    assert done.returncode == 1
    return check_log(file)


def test_every_line_is_json_whoever_speaks(said: list[dict[str, object]]) -> None:
    events = [str(one["event"]) for one in said]
    expected = ["ours", "with a trace", "of a library, with arguments", "printed", "in two lines"]
    expected += ["in pieces", "to stderr", "many", "lines", "2 %"]
    assert [event for event in events if event in expected] == expected
    assert any("UserWarning: an old\nhabit" in event for event in events)
    assert "".join(event for event in events if set(event) == {"x"}) == "x" * 30_000
    assert not any("it/s" in event or event.strip() == "" for event in events)
    assert "not any more" not in events


def test_what_nobody_caught_is_told_once_with_its_trace(said: list[dict[str, object]]) -> None:
    told = [one for one in said if one["logger"] == "jamak.uncaught"]
    assert [one["level"] for one in told] == ["critical", "error", "critical"]
    assert told[0]["event"] == "uncaught in thread some-thread"
    for one, error in zip(told, ("in a thread", "while it goes", "the end"), strict=True):
        assert "Traceback" in str(one["exception"])
        assert error in str(one["exception"])
    assert told[-1] is said[-1]


def test_what_json_has_no_word_for_is_text(said: list[dict[str, object]]) -> None:
    (ours,) = (one for one in said if one["event"] == "ours")
    assert (ours["loss"], ours["deep"]) == ("nan", [{"1": "-inf"}])
    assert ours["key"] == "영상 \ud800\u2028\n.mp4"
    assert (ours["level"], ours["logger"]) == ("info", "jamak.test")


@pytest.mark.parametrize(
    ("arguments", "code", "event", "told"),
    [
        (["-c", "import workers.app"], 78, "refusing to start", "JAMAK_OUTPUT"),
        (["-m", "producer.cli", "feed"], 78, "refusing to start", "JAMAK_OUTPUT"),
        (
            ["-m", "workers.video.decoder", "97", "98", "99", f"{1 << 31}"],
            1,
            "a decoder ends",
            "file descriptor",
        ),
    ],
)
def test_how_a_process_ends_is_a_log_line(
    arguments: list[str], code: int, event: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "log"
    with file.open("wb") as log:
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "JAMAK_OUTPUT": "nonsense"},
            stdout=log,
            stderr=log,
            timeout=120,
        )
    said, *_ = check_log(file)
    assert (done.returncode, said["event"]) == (code, event)
    assert told in str(said.get("message", said.get("exception")))
