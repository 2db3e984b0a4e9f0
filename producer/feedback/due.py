"""Whether a run of a rule is due, in words. Knows neither the journal nor the bucket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from producer.feedback.journal import Retraining
from producer.feedback.rules import KINDS, Rule
from shared.feedback import Kind
from shared.rows import Row, held_out

NAMED = {kind: name for name, kind in KINDS.items()}


@dataclass
class Verdict:
    """Of one rule."""

    rule: Rule
    last: Retraining | None
    new: dict[Kind, int] = field(default_factory=dict)
    """Lessons that no run of it has learned from."""
    rows: int = 0
    """Of the set; 0 where nobody has looked at the captions."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Why feedback was left out -> how much."""
    waits: list[str] = field(default_factory=list)
    """Why no run is due."""
    why: str = ""
    """Why one is."""

    @property
    def due(self) -> bool:
        return bool(self.why)

    @property
    def reasons(self) -> list[str]:
        return [self.why] if self.due else self.waits

    def dump(self) -> dict[str, Any]:
        return {
            "rule": self.rule.name,
            "due": self.due,
            "why": "; ".join(self.reasons),
            "new": self.new,
            "least": self.rule.when.least,
            "rows": self.rows,
            "left_out": self.left_out,
            "last": self.last and self.last.model_dump(mode="json"),
        }


def too_few(rule: Rule, new: Mapping[Kind, int]) -> list[str]:
    return [
        _too_few(new.get(kind, 0), least, NAMED[kind])
        for kind, least in rule.when.least.items()
        if new.get(kind, 0) < least
    ]


def too_soon(rule: Rule, last: Retraining | None, now: datetime) -> list[str]:
    if last is None or now - last.at >= timedelta(hours=rule.when.hours):
        return []
    return [_too_soon(f"{_hours(last, now):.1f}", f"{rule.when.hours:g}", last.number)]


def one_sided(rule: Rule, rows: Sequence[Row]) -> list[str]:
    """What a training would refuse."""
    found = []
    if len({row.media.uri for row in rows}) < 2:
        found.append(_one_video())
    elsewhere = held_out(rows)
    labels = {row.label for row in rows if row.media.identity not in elsewhere}
    if rule.train.stage == "kto" and len(labels) < 2:
        found.append(_one_label())
    return found


def why_due(rule: Rule, new: Mapping[Kind, int], last: Retraining | None, now: datetime) -> str:
    """As it stands in the journal."""
    counts = ", ".join(
        f"{new[kind]} new {NAMED[kind]} (at least {least})"
        for kind, least in rule.when.least.items()
    )
    if last is None:
        return f"{counts}; it is the first run of this rule"
    return f"{counts}; {_hours(last, now):.1f} hours since run {last.number}"


def _too_few(count: int, least: int, kind: str) -> str:
    return f"{count} of {least} new {kind} are there"


def _too_soon(hours: str, least: str, number: int) -> str:
    return f"{hours} of {least} hours have passed since run {number}"


def _one_video() -> str:
    return "it is all about one video, and one has to be held out"


def _one_label() -> str:
    return "all thumbs to learn from are the same, and the stage kto needs both"


def _hours(last: Retraining, now: datetime) -> float:
    return (now - last.at).total_seconds() / 3600
