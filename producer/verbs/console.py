"""How the verbs speak: see shared/console.py, and what the operator's verbs add to it."""

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from shared.console import AsJson, Grid, err, out, print_json
from shared.language import spoken

__all__ = [
    "AsJson",
    "Grid",
    "bars",
    "duration",
    "err",
    "out",
    "print_json",
    "size",
    "usd",
    "warn",
    "warn_of",
]


def bars() -> Progress:
    """Progress bars on stderr; nothing where that is no terminal."""
    return Progress(
        # What is told may be an address: its brackets are no markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )


def warn(message: str) -> None:
    err.print(f"[yellow]{escape(spoken(message))}[/yellow]", highlight=False)


def warn_of(message: str, cure: str) -> None:
    """Of many things one is not as it should be; the others are told all the same."""
    warn(message)
    err.print(f"  {escape(spoken(cure))}", highlight=False)


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


def usd(amount: float) -> str:
    """`$1,234.50`; of little more digits."""
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.2g}"
