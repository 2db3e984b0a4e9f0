"""The `jamak` command in this process, and what it would say where it is read."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from producer.cli import run
from producer.verbs.lazy import root
from shared.console import speak_in_any_encoding


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def leaves(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb that does something: its words and its command."""
    group = group or root()
    context = group.make_context("jamak", [], resilient_parsing=True)
    for name in group.list_commands(context):
        _, command, _ = group.resolve_command(context, [name])
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


class Screen(io.TextIOWrapper):
    """A stream as a terminal or a pipe has it."""

    def __init__(self, encoding: str, terminal: bool) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


@contextmanager
def speaking(
    patch: pytest.MonkeyPatch, encoding: str = "utf-8", columns: int | None = None
) -> Iterator[tuple[Screen, Screen]]:
    """Stdout and stderr; with `columns` they are a terminal of that width, else pipes."""
    screens = Screen(encoding, bool(columns)), Screen(encoding, bool(columns))
    with patch.context() as within:
        if columns:
            within.setenv("COLUMNS", str(columns))
            within.setenv("TERM", "dumb" if encoding == "ascii" else "xterm")
        within.setattr(sys, "stdout", screens[0])
        within.setattr(sys, "stderr", screens[1])
        speak_in_any_encoding()
        yield screens


def jamak_here(
    patch: pytest.MonkeyPatch,
    *arguments: str,
    encoding: str = "utf-8",
    columns: int | None = None,
) -> Said:
    with speaking(patch, encoding, columns) as (out, err):
        code = run(list(arguments))
        return Said(code, out.text(), err.text())
