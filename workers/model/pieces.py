"""What each token adds to a text, in bytes.

Tokens are no characters: a syllable has three bytes, and may lie in as many tokens. Byte-level
tokenizers (Qwen's) write each byte as a printable character; those of SentencePiece (Llama's) have
a token for each byte beside their pieces of text. Knows nothing of what a text may be.
"""

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
THOUGHTS = ("<think>", "</think>")
"""Around what a model says to itself."""
_THOUGHTS_SAID = [mark.encode() for mark in THOUGHTS]
MOST = 0x144
"""One more than the last character of the alphabet of bytes."""


class _Pieces:
    """Of one tokenizer: what was asked for is kept, for a stop string asks at every token."""

    def __init__(self, tokenizer: Any) -> None:
        self._byte_level = _is_byte_level(tokenizer)
        added, special = tokenizer.added_tokens_decoder, set(tokenizer.all_special_ids)
        self._told = {
            number: b"" if one.special and one.content not in THOUGHTS else one.content.encode()
            for number, one in added.items()
        }
        silent = (one for one in special if self._told.get(one) not in _THOUGHTS_SAID)
        self._told |= dict.fromkeys(silent, b"")

    def bytes_of(self, tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
        told = self._told
        if new := [number for number in dict.fromkeys(ids) if number not in told]:
            names = _names(tokenizer, new)
            found = _of_bytes(names) if self._byte_level else map(_of_piece, names)
            told.update(zip(new, found, strict=True))
        return [told[number] for number in ids]


_KNOWN: WeakKeyDictionary[Any, _Pieces] = WeakKeyDictionary()


def token_bytes(tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
    """Special ones, and numbers without a token, add nothing; but for the marks of thoughts, which
    say where a caption begins."""
    pieces = _KNOWN.get(tokenizer)
    if pieces is None:
        pieces = _KNOWN[tokenizer] = _Pieces(tokenizer)
    return pieces.bytes_of(tokenizer, ids)


def _names(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    known = [number if number < len(tokenizer) else None for number in ids]
    found = iter(tokenizer.convert_ids_to_tokens([one for one in known if one is not None]))
    return [(next(found) or "") if one is not None else "" for one in known]


def _is_byte_level(tokenizer: Any) -> bool:
    """A space is a byte like others there. A Maltese letter has the same name elsewhere."""
    return not _knows(tokenizer, "<0x00>") and _knows(tokenizer, "Ġ")


def _knows(tokenizer: Any, name: str) -> bool:
    number = tokenizer.convert_tokens_to_ids(name)
    return number is not None and tokenizer.convert_ids_to_tokens(number) == name


def _of_piece(name: str) -> bytes:
    if name.startswith("<0x") and (found := _BYTE.fullmatch(name)):
        return bytes([int(found[1], 16)])
    return name.replace("▁", " ").encode()


def _of_bytes(names: Sequence[str]) -> list[bytes]:
    """Of a byte-level tokenizer, all at once: there are many."""
    table = _byte_alphabet()
    codes = np.frombuffer("".join(names).encode("utf-32-le"), np.uint32)
    found = table[np.minimum(codes, MOST)]
    ends = np.cumsum([len(name) for name in names], dtype=np.int64)
    text, marks = found.astype(np.uint8).tobytes(), [0, *ends.tolist()]
    told = [text[start:end] for start, end in pairwise(marks)]
    for number in set(np.searchsorted(ends, (found < 0).nonzero()[0], side="right").tolist()):
        told[number] = _of_piece(names[number])
    return told


@cache
def _byte_alphabet() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Code point -> the byte that it is written for (GPT-2's table), or -1."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [one for one in range(256) if one not in set(printable)]
    table = np.full(MOST + 1, -1)
    table[printable] = printable
    table[256 : 256 + len(rest)] = rest
    return table
