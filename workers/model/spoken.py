"""New tokens become text: one rule for captions, segments, summaries, stop strings and evaluation.

Bytes first, then characters: what was cut inside a character ends before it, what is no character
is left out and told. What a model says to itself (`<think>`) is no part of what it says. Special
tokens are silent; those that it spells are left out and told.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from shared.prompts import without_begun_mark, without_marks
from shared.text import closed, plain
from workers.model.pieces import token_bytes

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_UTF8 = codecs.getincrementaldecoder("utf-8")

MOST_BYTES = 12
"""Of a character in decomposed form, at most."""
OPEN_BYTES = 320
"""At the end of what is said, at most, which are not read before more follows: the beginning of a
special token, or of a syllable in letters."""


@dataclass(frozen=True)
class Spoken:
    heard: str
    """As it was said, with U+FFFD for bytes that are no characters, and special tokens that it
    spelled."""

    @cached_property
    def text(self) -> str:
        """As it is delivered: NFC, whole characters, nothing around it."""
        return delivered(self.heard)


def spoken(tokenizer: Any, ids: Sequence[int], *, finished: bool) -> Spoken:
    """Args:
    ids: the new tokens alone.
    finished: the model ended by itself; otherwise it was cut off, maybe inside a syllable.
    """
    said = b"".join(token_bytes(tokenizer, ids))
    heard = _UTF8("replace").decode(said, final=finished)
    heard = heard if finished else closed(without_begun_mark(heard))
    return Spoken(without_thoughts(heard))


def ending(tokenizer: Any, ids: Sequence[int], characters: int) -> str:
    """So many characters before the last token's, in whatever form, and maybe more: what is read
    at each token costs the same each time."""
    wanted, end = MOST_BYTES * characters + OPEN_BYTES, b""
    for place in reversed(range(len(ids))):
        end = token_bytes(tokenizer, ids[place : place + 1])[0] + end
        if place == len(ids) - 1:
            wanted += len(end)
        if len(end) >= wanted:
            break
    return end.decode(errors="replace")


def delivered(text: str) -> str:
    """What becomes of a text that a model says. Said again it stays as it is."""
    while (kept := without_marks(without_thoughts(plain(text))).strip()) != text:
        text = kept  # what was apart may now read as a mark
    return text


def without_thoughts(text: str) -> str:
    """Also where only the end is told: a prompt may begin them. What has no end is all thought."""
    while (kept := _THOUGHT.sub("", text)) != text:
        text = kept
    return text.rpartition("</think>")[2]
