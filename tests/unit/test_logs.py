"""Whoever speaks in a process of ours: every line is a JSON object."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigError, JamakError, Retry, UsageError
from shared.telemetry.logs import LONGEST_LINE, refusing
from tests.telemetry import check_log

PROGRAM = """
import logging, os, sys, threading, time, warnings
from shared import telemetry
telemetry.log_everything("info")

log = telemetry.get_logger("jamak.test")
log.info("ours", key="영상 é \\ud800\\u2028\\n.mp4", loss=float("nan"), deep=[{1: float("-inf")}])
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
    assert max(map(len, events)) <= LONGEST_LINE
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
    assert ours["key"] == "영상 é \ud800\u2028\n.mp4"
    assert (ours["level"], ours["logger"]) == ("info", "jamak.test")


def end_of(folder: Path, *arguments: str, output: str) -> tuple[int, dict[str, object]]:
    """The exit code of a process, and its first log line."""
    file = folder / "log"
    with file.open("wb") as log:
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "JAMAK_OUTPUT": output},
            stdout=log,
            stderr=log,
            timeout=120,
        )
    return done.returncode, check_log(file)[0]


@pytest.mark.parametrize("process", [["-c", "import workers.app"], ["-m", "producer.cli", "feed"]])
def test_what_must_be_configured_first_is_a_log_line(process: list[str], tmp_path: Path) -> None:
    code, said = end_of(tmp_path, *process, output="nonsense")
    assert (code, said["level"], said["event"]) == (78, "critical", "refusing to start")
    assert "JAMAK_OUTPUT" in str(said["message"])
    assert said["cure"]


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("c"), 78), (UsageError("u"), 2), (Retry("r"), 1)]
)
def test_a_process_ends_with_the_code_of_its_error(error: JamakError, code: int) -> None:
    with pytest.raises(SystemExit) as ended, refusing():
        raise error
    assert ended.value.code == code


def test_how_a_decoder_dies_is_a_log_line(tmp_path: Path) -> None:
    decoder = ("-m", "workers.video.standby", "97", "98", "99", f"{1 << 31}")
    code, said = end_of(tmp_path, *decoder, output="s3://out/")
    assert (code, said["event"]) == (1, "a decoder ends")
    assert "file descriptor" in str(said["exception"])


CELERY_IS_STOPPED = """
from types import SimpleNamespace
from celery.signals import celeryd_init
import workers.app
from celery.apps import worker
celeryd_init.send("a worker", instance=SimpleNamespace(quiet=False))
worker.install_worker_term_handler(SimpleNamespace(hostname="here"))
import os, signal
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_what_celery_says_at_a_signal_is_a_log_line(tmp_path: Path) -> None:
    code, said = end_of(tmp_path, "-c", CELERY_IS_STOPPED, output="s3://out/")
    assert (code, said["event"]) == (0, "celery")
    assert "Warm shutdown" in str(said["message"])
