"""A signal is heard whatever the main thread does."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil
import pytest

DEAF = "import hashlib; print('up', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
"""Minutes in a library of C that knows no signals."""
STUCK = "import time\ntry:\n  print('up', flush=True); time.sleep(99)\nfinally: time.sleep(99)"
"""It is interrupted, and then what it does last hangs."""


def ended(program: str, *numbers: signal.Signals) -> int:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            for number in numbers or (0,):
                assert process.stdout.readline() == "up\n"
                process.send_signal(number)
            return process.wait(30)
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_process_ends_although_its_main_thread_is_deaf(number: signal.Signals, code: int) -> None:
    start = "from shared.signals import end_on_signal; end_on_signal(lambda: 0.1)\n"
    assert ended(start + DEAF, number) == code


@pytest.mark.parametrize(
    ("program", "number", "code"),
    [(DEAF, signal.SIGTERM, 143), (STUCK, signal.SIGTERM, 143), (STUCK, signal.SIGINT, 130)],
)
def test_a_command_ends_although_something_hangs(
    program: str, number: signal.Signals, code: int
) -> None:
    start = "from shared.signals import interrupt_on_signal; interrupt_on_signal()\n"
    assert ended(start + program, number) == code


@pytest.mark.parametrize(
    "start", ["import workers", "from producer.cli import interrupt_on_signal as i; i()"]
)
def test_the_first_process_of_a_container_ends_while_it_still_starts(start: str) -> None:
    """The kernel ignores what such a process has no handler for."""
    apart = ["unshare", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"]).returncode:
        pytest.skip("this system lets nobody be the first process of anything")
    program = f"{start}\n{DEAF}"
    with subprocess.Popen(
        [*apart, sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            (first,) = psutil.Process(process.pid).children()
            first.send_signal(signal.SIGTERM)
            assert process.wait(30) == 143
        finally:
            process.kill()


def test_a_command_tidies_up() -> None:
    start = "from shared.signals import interrupt_on_signal; interrupt_on_signal()\n"
    body = "import sys, time\ntry:\n  print('up', flush=True); time.sleep(99)\nfinally: sys.exit(7)"
    assert ended(start + body, signal.SIGTERM) == 7


WAITING = "print('up', flush=True), time.sleep(99)"


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (f"end_on_signal(lambda: ({WAITING}))", 143),
        (f"on_signal(lambda number: ({WAITING}), again_s=0.1)", 143),
        # whoever has something to hand back has the time for it
        (
            "on_signal(lambda _: HEARD.append(print('up', flush=True)) or HEARD[1:] and end(), "
            "again_s=20)",
            9,
        ),
        ("interrupt_on_signal()", 143),
    ],
    ids=["a feeder", "a worker", "handing back", "a command"],
)
def test_the_second_signal_ends_it_whatever_the_first_one_waits_for(start: str, code: int) -> None:
    """Each of them is sent when the one before was heard: equal ones that wait are one."""
    program = (
        "import os, threading, time",
        "from shared.signals import end_on_signal, interrupt_on_signal, on_signal",
        "HEARD, end = [], lambda: os._exit(9)",
        start,
        "try: print('up', flush=True); threading.Event().wait()",
        f"finally: {WAITING}",
    )
    assert ended("\n".join(program), signal.SIGTERM, signal.SIGTERM) == code


def test_whoever_takes_a_signal_over_decides() -> None:
    taken: Sequence[str] = (
        "import signal, sys, time",
        "from shared.signals import end_on_signal",
        "end_on_signal(lambda: 0.0)",
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))",
        "print('up', flush=True)",
        "time.sleep(99)",
    )
    assert ended("\n".join(taken), signal.SIGTERM) == 5


def test_what_is_set_last_counts() -> None:
    again: Sequence[str] = (
        "import os, time",
        "from shared.signals import end_on_signal, on_signal",
        "end_on_signal(lambda: 0.0)",
        "on_signal(lambda number: os._exit(40 + number))",
        "print('up', flush=True)",
        "time.sleep(99)",
    )
    assert ended("\n".join(again), signal.SIGTERM) == 40 + signal.SIGTERM


def test_a_signal_is_heard_while_another_takes_over() -> None:
    handover: Sequence[str] = (
        "import os, signal, sys, time",
        "from shared.signals import on_signal",
        "def end(number): os._exit(40 + number)",
        "on_signal(end)",
        "print('up', flush=True)",
        "sys.setswitchinterval(10)  # the listener's thread comes after what follows",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "on_signal(end)",
        "time.sleep(9)",
    )
    assert ended("\n".join(handover)) == 40 + signal.SIGTERM
