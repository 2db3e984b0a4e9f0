"""Could the model say what it is trained on? What it could not is learned as something else."""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.errors import BadData
from shared.rows import Row
from workers.model.marks import marks
from workers.model.prompt import completion_ids, text_of

SHOWN = 20
"""Characters from where two texts differ."""


def check_sayable(tokenizer: Any, rows: Sequence[Row]) -> None:
    """Each text, as tokens and back, is the same text.

    Raises:
        BadData: naming the row.
    """
    for _, error in unsayable(tokenizer, rows):
        raise error


def unsayable(tokenizer: Any, rows: Sequence[Row]) -> Iterator[tuple[Row, BadData]]:
    """Each row once."""
    names = marks(tokenizer)
    for row in rows:
        for text in row.texts:
            if error := _fault(tokenizer, names, row.id, text):
                yield row, error
                break


def _fault(tokenizer: Any, names: Sequence[str], row_id: str, text: str) -> BadData | None:
    if mark := next((name for name in names if name in text), None):
        return BadData(
            f"row {row_id!r}: this model reads {mark} as a token of its own",
            cure="Take it out of the text.",
        )
    said = text_of(tokenizer, completion_ids(tokenizer, text)[:-1])
    if said == text:
        return None
    pairs = enumerate(zip(said, text, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), len(said))
    return BadData(
        f"row {row_id!r}: this model could not say {text[at : at + SHOWN]!r}, only "
        f"{said[at : at + SHOWN]!r}: it has no tokens for that",
        cure="Write it otherwise.",
    )
