"""Puts Jamak and what it needs into the environment of the Python that runs this.

    python infra/install.py EXTRA[,EXTRA]...

By uv, which pip fetches first: it downloads and unpacks many packages at once. It reads none of
pip's configuration, so it is told what that says; where it cannot be told, or fails, pip does all
of it. Of the thousands of modules only those are compiled that will be imported. What goes on is
said line by line, with the time and the sizes, on any terminal. Needs nothing but the standard
library.
"""

import ast
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
INDEXES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX"}
"""Variables and not arguments, which others on the machine see: an address may hold a password."""
SETTINGS = {
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}
"""Of pip: what uv calls them. Each may have several values."""
ONLY_PIPS = {
    "cache-dir",
    "disable-pip-version-check",
    "no-input",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
}
"""Settings that say nothing about what is installed."""
NUMBERS_OF_PIP = {"timeout": "UV_HTTP_TIMEOUT", "default-timeout": "UV_HTTP_TIMEOUT"}
IMPORTED = (
    "workers.train.run workers.train.sft workers.train.dpo workers.train.kto "
    "workers.caption.captioner hypothesis.strategies pytest xdist.remote xdist.workermanage",
    "workers.tasks workers.delivery.lifecycle celery.bin.celery celery.worker.worker "
    "celery.concurrency.thread moto.server moto.s3.urls moto.sqs.urls moto.iam.models "
    "infra.demo.cli producer.verbs.bulk producer.verbs.captions",
)
"""By the trainer and the captioner, and by the other processes: compiled at once, on two cores. Not
by each of them for itself when all start together, or each time where no bytecode is written."""
SILENT_S = 10.0
"""After so long without a word the time is said."""


def settings_of(listing: str) -> dict[str, str]:
    """What `pip config list` prints, as name -> value; the environment goes before files."""
    ranks = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        where, _, value = line.partition("=")
        section, _, name = where.rpartition(".")
        rank = ranks.get(section, -1)
        if rank >= found.get(name, (0, ""))[0]:
            found[name] = rank, str(ast.literal_eval(value))
    return {name: value for name, (_, value) in found.items() if value}


def for_uv(settings: Mapping[str, str]) -> tuple[list[str], dict[str, str]] | None:
    """Arguments and environment that tell uv the same; None: something cannot be told."""
    # As pip does it: of all indexes the best version, not the first index that knows a name.
    arguments, environment = ["--index-strategy", "unsafe-best-match"], {}
    for name, value in settings.items():
        if name in INDEXES:
            environment[INDEXES[name]] = " ".join(value.split())
        elif name in SETTINGS:
            for one in value.split():
                arguments += [SETTINGS[name], one]
        elif name in NUMBERS_OF_PIP:
            environment[NUMBERS_OF_PIP[name]] = value
        elif name == "cert":
            environment["SSL_CERT_FILE"] = value
        elif name == "no-cache-dir":
            environment["UV_NO_CACHE"] = "1"
        elif name not in ONLY_PIPS:
            return None
    return arguments, environment


class Teller:
    """Says lines with the time since the beginning, and the time alone when nothing comes; as long
    as the block lasts."""

    def __init__(self, silent_s: float = SILENT_S) -> None:
        self._began = self._said = time.monotonic()
        self._silent_s, self._what = silent_s, ""
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def say(self, what: str) -> None:
        self._said = time.monotonic()
        print(f"  {self._said - self._began:5.1f} s  {what}", flush=True)

    def doing(self, what: str) -> None:
        self._what = what
        self.say(what)

    def _watch(self) -> None:
        while not self._over.wait(self._silent_s / 10):
            if time.monotonic() - self._said >= self._silent_s:
                self.say(f"still {self._what}")


def run(
    teller: Teller, command: Sequence[str], environment: Mapping[str, str], left_out: Iterable[str]
) -> int:
    """Say what it says, but lines that begin with one of these."""
    with subprocess.Popen(
        command, env={**environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() and not line.startswith(tuple(left_out)):
                teller.say(line.strip())
    return process.returncode


def compile_imports(environment: Mapping[str, str]) -> None:
    """By importing. What is not installed, or does not work here, is no matter now."""
    writing = {**environment, "HF_HUB_OFFLINE": "1"}
    writing.pop("PYTHONDONTWRITEBYTECODE", None)
    program = (
        "import contextlib, gc, importlib, sys\n"
        "gc.disable()\n"
        "for name in sys.argv[1:]:\n"
        "    with contextlib.suppress(Exception):\n"
        "        importlib.import_module(name)\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, *names.split()],
            env=writing,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for names in IMPORTED
    ]
    for process in started:
        process.wait()


def install(extras: str, environment: Mapping[str, str]) -> int:
    with Teller() as teller:
        code = by_uv(teller, extras, environment)
        if code:
            teller.doing(f"installing jamak[{extras}] with pip: some minutes")
            command = [*PIP, "install", "--no-compile", "--progress-bar", "off", *wanted(extras)]
            code = run(teller, command, environment, ("WARNING", "Requirement already"))
        if not code:
            teller.doing("compiling what will be imported")
            compile_imports(environment)
            teller.say("done")
    return code


def by_uv(teller: Teller, extras: str, environment: Mapping[str, str]) -> int:
    """0: it is done."""
    listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True).stdout
    told = for_uv(settings_of(listing))
    if told is None:
        return 1
    arguments, more = told
    teller.doing("fetching uv, which fetches the rest")
    fetching = [*PIP, "install", "--quiet", "--constraint", "constraints.txt", "uv"]
    if code := run(teller, fetching, environment, ("WARNING",)):
        return code
    teller.doing(f"installing jamak[{extras}]")
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
    return run(
        teller,
        [*command, *arguments, *wanted(extras)],
        {**environment, **more},
        (" + ", " - ", " ~ "),  # the list of all packages
    )


def wanted(extras: str) -> list[str]:
    return ["--constraint", "constraints.txt", "--editable", f".[{extras}]"]


if __name__ == "__main__":
    sys.exit(install(sys.argv[1], os.environ))
