"""A row of the table: one model, and how it did in each set."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.judge.answers import is_right
from workers.judge.suites import Asked


@dataclass(frozen=True)
class Answered:
    asked: Asked
    said: str

    @property
    def right(self) -> bool:
        return is_right(self.said, self.asked.answer)


@dataclass
class TableRow:
    version: str | None
    """None = the base model."""
    answers: dict[str, list[Answered]] = field(default_factory=lambda: defaultdict(list))
    """Of each set."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Questions of each set whose videos are not there, or cannot be read."""

    def accuracy(self, suite: str) -> float:
        return _share(self.answers[suite])

    def told(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "suites": {
                suite: {
                    "accuracy": _share(some),
                    "questions": len(some),
                    "left_out": self.left_out.get(suite, 0),
                    "by_kind": _by_kind(some),
                    "answers": [
                        {"id": one.asked.id, "said": one.said, "right": one.right} for one in some
                    ],
                }
                for suite, some in self.answers.items()
            },
        }


def _by_kind(answers: Sequence[Answered]) -> dict[str, float]:
    kinds: dict[str, list[Answered]] = defaultdict(list)
    for one in answers:
        kinds[one.asked.kind].append(one)
    return {kind: _share(some) for kind, some in kinds.items()}


def _share(answers: Sequence[Answered]) -> float:
    return sum(one.right for one in answers) / len(answers)
