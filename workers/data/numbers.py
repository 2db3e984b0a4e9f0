"""A training set in numbers: how much of what, and how long. Judges nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.rows import Row
from workers.caption.checks import hangul_share
from workers.data.examine import Examined
from workers.data.spread import Spread

GROUPED_BY = ("split", "source", "license", "origin", "label")


@dataclass(frozen=True)
class Group:
    """Rows that have a value in common."""

    column: str
    value: str
    """Empty: they have none."""
    rows: int
    media: int
    seconds: float | None
    """Of these videos and parts, as far as they can be opened; None: nobody looked."""


@dataclass(frozen=True)
class Numbers:
    groups: list[Group]
    spreads: dict[str, Spread]
    """Tokens of the text and of the prompt, syllables, Korean share, seconds, frames; of a pair, by
    how many tokens the chosen text is longer."""
    values: dict[str, list[float]]
    """What each is the spread of."""

    def dump(self) -> dict[str, Any]:
        return {
            "groups": [vars(one) for one in self.groups],
            "spreads": {name: one.dump() for name, one in self.spreads.items()},
        }


def numbers_of(found: Examined) -> Numbers:
    values = {name: list(some) for name, some in _values(found)}
    spreads = {name: spread for name, some in values.items() if (spread := Spread.of(some))}
    return Numbers(list(_groups(found)), spreads, values)


def _values(found: Examined) -> Iterator[tuple[str, Iterable[float]]]:
    lengths = found.lengths
    yield "text tokens", (one.text for one in lengths.values())
    yield "syllables", (one.syllables for one in lengths.values())
    yield "prompt tokens", (one.prompt for one in lengths.values())
    yield "Korean share", (hangul_share(row.reference) for row in found.rows)
    if found.stage == "dpo":
        yield "chosen longer by", (one.reference - one.rejected for one in lengths.values())
    if found.media:
        yield "seconds", _seconds(found, found.rows).values()
        yield "frames", found.media.frames.values()


def _seconds(found: Examined, rows: Sequence[Row]) -> dict[str, float]:
    """By key, of the videos and parts; a still takes no time."""
    assert found.media is not None
    seconds = {}
    for row in rows:
        seen, part = found.media.seen.get(row.media.uri), row.media
        if seen and row.videos and part.key not in found.media.unreadable:
            end = seen.seconds if part.end is None else min(part.end, seen.seconds)
            seconds[part.key] = end - (part.start or 0.0)
    return seconds


def _groups(found: Examined) -> Iterator[Group]:
    """Of each column those with the most rows first."""
    for column in GROUPED_BY:
        grouped: dict[Any, list[Row]] = {}
        for row in found.rows:
            grouped.setdefault(getattr(row, column), []).append(row)
        if column != "split" and set(grouped) <= {None}:
            continue
        for value, those in sorted(grouped.items(), key=lambda one: -len(one[1])):
            yield Group(
                column,
                "" if value is None else str(value).lower() if value in (True, False) else value,
                len(those),
                len({row.media.key for row in those}),
                sum(_seconds(found, those).values()) if found.media else None,
            )
