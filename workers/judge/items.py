"""What is judged: one caption, and what it should have been."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from shared.text import composed


@dataclass(frozen=True)
class Item:
    id: str
    video: str
    """Its identity: captions of one video stand or fall together."""
    references: tuple[str, ...]
    """Each of them is right."""
    said: str
    finished: bool = True
    """It ended by itself, not at the greatest length."""
    logp: float | None = None
    """Log-probability of the references by the model, in nats a token; None = nobody looked."""
    parts: dict[str, str] = field(default_factory=dict)
    """Column of the table of slices -> which of them it belongs to."""


def normalised(items: Iterable[Item]) -> list[Item]:
    """All texts in NFC and without space around them: else the same text would be another one."""
    return [
        replace(
            item,
            said=composed(item.said).strip(),
            references=tuple(composed(text).strip() for text in item.references),
        )
        for item in items
    ]


def videos_of(items: Sequence[Item]) -> list[str]:
    """Different ones, in their order."""
    return list(dict.fromkeys(item.video for item in items))
