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

import numpy as np

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
MOST = 0x144
"""One more than the last character of the alphabet of bytes."""


def token_bytes(tokenizer: Any, ids: Sequence[int]) -> list[bytes]:
    """Special ones, and numbers without a token, add nothing."""
    names = _names(tokenizer, ids)
    told = _of_bytes(names) if _is_byte_level(tokenizer) else [_of_piece(name) for name in names]
    added, special = tokenizer.added_tokens_decoder, set(tokenizer.all_special_ids)
    apart = {*added, *special}
    for place, number in enumerate(ids):
        if number in apart:
            silent = number in special or added[number].special
            told[place] = b"" if silent else added[number].content.encode()
    return told


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
