"""Rows that a worker could never say: what they teach would be cut off, or is not allowed there.

The limits are those of the trainer's settings, for the caption workers' are the same. What nobody
is to say, `rejected` or with a thumb down, may be anything.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.errors import BadData
from shared.messages import Decoding
from shared.rows import Row
from shared.scripts import allowed
from workers.model.prompt import completion_ids
from workers.model.syllables import longest, syllables_in, tokens_a_syllable

Fault = tuple[Row, BadData]


def check_limits(rows: Sequence[Row], tokenizer: Any, decoding: Decoding) -> None:
    """Raises:
    BadData: naming the first row whose text is longer than a worker's captions, or holds
        letters that it may not write, and how many there are.
    """
    if long := list(too_long(rows, tokenizer, decoding)):
        _, error = long[0]
        raise BadData(
            f"{error}; {len(long)} of {len(rows)} rows are longer than that", cure=error.cure
        )
    for _, error in foreign(rows, decoding):
        raise error


def too_long(
    rows: Sequence[Row], tokenizer: Any, decoding: Decoding, *, unsaid: bool = False
) -> Iterator[Fault]:
    """Those whose end no caption would reach.

    Args:
        unsaid: texts that nobody is to say count, too: none of a caption is longer.
    """
    most = longest(decoding, tokens_a_syllable(tokenizer))
    for row in rows if unsaid else _to_be_said(rows):
        for text in row.texts if unsaid else [row.reference]:
            length = len(completion_ids(tokenizer, text))
            if length > most:
                yield (
                    row,
                    BadData(
                        f"row {row.id!r} has {syllables_in(text)} syllables in {length} tokens, "
                        f"and a caption ends after {most}",
                        cure=f"Shorten them, or raise {decoding.set_by} for trainers and new jobs.",
                    ),
                )


def foreign(rows: Sequence[Row], decoding: Decoding) -> Iterator[Fault]:
    """Those with letters that are kept out of captions."""
    if decoding.language != "ko":
        return
    for row in _to_be_said(rows):
        if found := next((one for one in row.reference if not allowed(one)), None):
            yield (
                row,
                BadData(
                    f"row {row.id!r} holds {found!r}, which no caption may hold under "
                    "JAMAK_LANGUAGE=ko",
                    cure="Write it in Korean or Latin letters, or set JAMAK_LANGUAGE=any for "
                    "trainers and new jobs.",
                ),
            )


def beyond_context(row: Row, prompt: int, text: int, context: int) -> BadData | None:
    """Whether it has more tokens than the model has positions.

    Args:
        prompt: tokens of its prompt, with those of the frames.
        text: tokens of its longest text.
    """
    if prompt + text <= context:
        return None
    return BadData(
        f"row {row.id!r} has {prompt} tokens of prompt and frames and {text} of text; the model "
        f"has {context} positions",
        cure="Shorten the text, or train with fewer frames.",
    )


def no_other_order(row: Row) -> BadData:
    """Of a row with `rejected_frames` whose video has one frame."""
    return BadData(
        f"row {row.id!r}: its video has one frame, and that no other order",
        cure="Remove the row, or its rejected_frames.",
    )


def _to_be_said(rows: Sequence[Row]) -> Iterator[Row]:
    return (row for row in rows if row.label is not False)
