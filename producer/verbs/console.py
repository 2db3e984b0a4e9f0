"""What all verbs share: where they print, and how."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]

out = Console()
err = Console(stderr=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def bars() -> Progress:
    """Progress bars on stderr; nothing where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )


def warn(message: str) -> None:
    err.print(f"[yellow]{escape(message)}[/yellow]", highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """`3 d 4 h`, `2 h 5 min`, `40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(size_bytes: int) -> str:
    """`1.5 GiB`"""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min((size_bytes.bit_length() - 1) // 10, 5)
    return f"{size_bytes / 1024**power:.1f} {'KMGTP'[power - 1]}iB"
