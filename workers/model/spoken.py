"""New tokens become text: one rule for captions, segments, summaries, stop strings and evaluation.

Bytes first, then characters: what was cut inside a character ends before it, what is no character
is left out and told. What a model says to itself (`<think>`) is no part of what it says. Special
tokens are silent.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.text import closed, plain
from workers.model.pieces import token_bytes

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_UTF8 = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True)
class Spoken:
    text: str
    """As it is delivered: NFC, whole characters, nothing around it."""
    heard: str
    """As it was said, with U+FFFD for bytes that are no characters."""


def spoken(tokenizer: Any, ids: Sequence[int], *, finished: bool) -> Spoken:
    """Args:
    ids: the new tokens alone.
    finished: the model ended by itself; otherwise it was cut off, maybe inside a syllable.
    """
    said = b"".join(token_bytes(tokenizer, ids))
    heard = _UTF8("replace").decode(said, final=finished)
    heard = without_thoughts(heard if finished else closed(heard))
    return Spoken(delivered(heard), heard)


def delivered(text: str) -> str:
    """What becomes of a text that a model says. Said again it stays as it is."""
    while (kept := without_thoughts(plain(text)).strip()) != text:
        text = kept  # what was apart may now read as a mark
    return text


def without_thoughts(text: str) -> str:
    """Also where only the end is told: a prompt may begin them. What has no end is all thought."""
    while (kept := _THOUGHT.sub("", text)) != text:
        text = kept
    return text.rpartition("</think>")[2]
