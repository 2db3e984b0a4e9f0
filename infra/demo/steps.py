"""How the demo goes along: a bar for the step that runs, a line for each that is done.

A step that fails says which one it was.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shared.errors import JamakError, Unfinished


class DemoFailed(Unfinished):
    """A step of the demo did not end as it should."""

    reason = "demo_failed"


class Step:
    """The bar of one step."""

    def __init__(self, progress: Progress, name: str, total: int | None) -> None:
        self._progress, self._name = progress, name
        self._task = progress.add_task(name, total=total)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def show(self, done: int, total: int, what: str = "") -> None:
        name = f"{self._name}: {what}" if what else self._name
        self._progress.update(self._task, description=name, completed=done, total=total)


class Steps:
    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        """Raises DemoFailed: something of ours went wrong within; named after the step."""
        started = time.monotonic()
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        try:
            with Progress(
                *columns,
                console=self.console,
                transient=True,
                disable=not self.console.is_terminal,
            ) as progress:
                yield Step(progress, name, total)
        except JamakError as error:
            raise DemoFailed(f"{name}: {error}", cure=error.cure) from error
        seconds = f"{time.monotonic() - started:5.1f} s"
        self.console.print(f"[green]✓[/green] {seconds}  {escape(name)}", highlight=False)
