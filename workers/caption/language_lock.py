"""Which tokens would begin a letter of a foreign script, after what a row has said.

Latin letters, Hangul, digits, punctuation and symbols stay; Han, kana, Cyrillic and all other
letters are out. A token is judged by its bytes, after those of an unfinished character before it:
it is out when no continuation of it could be allowed. So the first byte of what can only be Han is
out, and after one that may begin Hangul or kana only the bytes of Hangul are left.

Built once from the tokenizer; knows nothing of models and devices.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any

import torch

LETTERS = ("LATIN ", "HANGUL ", "FULLWIDTH LATIN ", "HALFWIDTH HANGUL ", "MICRO ", "OHM ")
NUMBERED = ("FEMININE ORDINAL", "MASCULINE ORDINAL", "KELVIN ", "ANGSTROM ", "SCRIPT SMALL L")
NOTHING = ("Cn", "Co", "Cs")
"""Categories of code points that are no characters."""
SHARED = frozenset("、。〈〉《》「」『』【】〔〕〜")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@cache
def allowed(character: str) -> bool:
    category = unicodedata.category(character)
    if category in NOTHING:
        return False
    if not category.startswith("L"):
        return True
    return unicodedata.name(character, "").startswith((*LETTERS, *NUMBERED))


@cache
def _completions(start: bytes) -> frozenset[bool]:
    """Whether the letters that this can become are allowed; all else it can become goes with them,
    but for the brackets and dots that Korean shares with its neighbours.

    `start`: a part of one character, from its first byte."""
    missing = _length(start[0]) - len(start)
    low = _value(start) << 6 * missing
    high = min(low + (1 << 6 * missing), 0x110000)
    characters = map(chr, range(low, high))
    decide = (
        one for one in characters if one in SHARED or unicodedata.category(one).startswith("L")
    )
    return frozenset(map(allowed, decide)) or frozenset([True])


def _length(lead: int) -> int:
    """Bytes of the character that begins so; 1 for what is no beginning."""
    for length, least in ((4, 0xF0), (3, 0xE0), (2, 0xC2)):
        if lead >= least:
            return length if lead < 0xF5 else 1
    return 1


def _value(start: bytes) -> int:
    value = start[0] & (0xFF >> (_length(start[0]) + 1))
    for one in start[1:]:
        value = value << 6 | one & 0x3F
    return value


def _walk(text: bytes) -> tuple[bool, bytes]:
    """Whether all of it is, or may become, allowed; and the unfinished character at its end, if it
    matters how that goes on."""
    at = 0
    while at < len(text):
        length = _length(text[at])
        piece = text[at : at + length]
        if length > 1 and len(piece) < length and all(one & 0xC0 == 0x80 for one in piece[1:]):
            ends = _completions(piece)
            return True in ends, piece if False in ends else b""
        try:
            character = piece.decode()
        except UnicodeDecodeError:
            at += 1  # no character at all
            continue
        if not allowed(character):
            return False, b""
        at += length
    return True, b""


class LanguageLock:
    """A row has a state, 0 at first: `masks[state]` is what it may not say next, and
    `following[state, token]` the state afterwards.

    Attributes:
        masks: (states, vocabulary) bool, True = out.
        following: (states, vocabulary) uint8.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        texts = token_bytes(tokenizer, vocabulary)
        states: dict[bytes, int] = {b"": 0}
        self.masks = torch.zeros(1, vocabulary, dtype=torch.bool)
        self.following = torch.zeros(1, vocabulary, dtype=torch.uint8)
        inside = [n for n, text in enumerate(texts) if text and text[0] & 0xC0 == 0x80]
        for start in states_as_they_come(states):
            if start:
                # Whatever does not go on with the unfinished character leaves it as it is.
                self.masks = torch.cat([self.masks, self.masks[:1]])
                self.following = torch.cat([self.following, self.following[:1]])
            for number in inside if start else range(len(texts)):
                fine, end = _walk(start + texts[number])
                self.masks[states[start], number] = not fine
                if fine and end not in states:
                    states[end] = len(states)
                self.following[states[start], number] = states[end] if fine else 0


def states_as_they_come(states: dict[bytes, int]) -> Iterator[bytes]:
    """Those that are added meanwhile, too."""
    for number in count():
        if number == len(states):
            return
        yield list(states)[number]


def token_bytes(tokenizer: Any, vocabulary: int) -> list[bytes]:
    """What each token adds to the text; special ones, and numbers without a token, add nothing."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    names = tokenizer.convert_ids_to_tokens(list(range(min(vocabulary, len(tokenizer)))))
    byte_level = any("Ġ" in (name or "") for name in names)
    told = []
    for number, name in enumerate(names):
        if name is None or number in special:
            told.append(b"")
        elif found := _BYTE.fullmatch(name):
            told.append(bytes([int(found[1], 16)]))
        elif byte_level and all(one in _BYTES_OF for one in name):
            told.append(bytes(_BYTES_OF[one] for one in name))
        else:
            told.append(name.replace("▁", " ").encode())
    return told + [b""] * (vocabulary - len(told))


def _byte_alphabet() -> dict[str, int]:
    """Byte-level tokenizers write each byte as a printable character (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(one): one for one in printable}
    rest = [one for one in range(256) if one not in set(printable)]
    table.update({chr(256 + number): one for number, one in enumerate(rest)})
    return table


_BYTES_OF = _byte_alphabet()
