"""Which tokens would begin a letter of a foreign script, after what a row has said.

Latin letters, Hangul, digits, punctuation and symbols stay; Han, kana, Cyrillic and all other
letters are out. A token is judged by its bytes, after those of an unfinished character before it:
it is out when no continuation of it could be allowed. So the first byte of what can only be Han is
out, and after one that may begin Hangul or kana only the bytes of Hangul are left.

Built once from the tokenizer; knows nothing of models and devices.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import torch

OURS = ("LATIN ", "HANGUL ")
UNITS = frozenset("\u00b5\u2126")
"""Micro and ohm; inside of other signs they are the Greek letters that they come from."""
GREEK = frozenset("\u03bc\u03a9")
MARKS = ("COMBINING ", "VARIATION SELECTOR", "HANGUL ")
FOREIGN = ("CJK ", "IDEOGRAPHIC NUMBER", "HANGZHOU ", "KATAKANA", "HIRAGANA", "CYRILLIC")
"""In names of what is no letter by its category, and reads as one."""
SHARED = frozenset("\u3000、。〈〉《》「」『』【】〔〕〜")
"""Of blocks that are foreign otherwise."""
NOTHING, OTHER, ALLOWED, OUT = range(4)
"""No character; neither here nor there, as digits and signs; a letter of ours; one of others."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def allowed(character: str) -> bool:
    return _verdicts()[ord(character)] in (OTHER, ALLOWED)


@cache
def _verdicts() -> bytes:
    """Of each code point. What is all of one kind is not looked at one by one."""
    told = bytearray(0x110000)  # unassigned ones, surrogates, private use
    for low, high, verdict in (
        (0x3400, 0x4DC0, OUT),  # Han, as all of planes 2 and 3
        (0x4E00, 0xA000, OUT),
        (0xAC00, 0xD7A4, ALLOWED),  # Hangul syllables
        (0xF900, 0xFB00, OUT),
        (0x17000, 0x18D80, OUT),  # Tangut, Khitan
        (0x20000, 0x40000, OUT),
    ):
        told[low:high] = bytes([verdict]) * (high - low)
    for low, high in ((0, 0xD800), (0xFB00, 0x1FC00), (0xE0000, 0xE0200)):
        for number in range(low, high):
            if told[number] == NOTHING:
                told[number] = _verdict(chr(number))
    return bytes(told)


def _verdict(character: str) -> int:
    category = unicodedata.category(character)
    if category in ("Cn", "Co", "Cs"):
        return NOTHING
    if character in UNITS or character in SHARED:
        return ALLOWED
    if character < "\x80":
        return ALLOWED if category[0] == "L" else OTHER
    name = unicodedata.name(character, "")
    if name.startswith(OURS):
        return ALLOWED
    # A circled or squared letter is that letter.
    plain = unicodedata.normalize("NFKD", character)
    if category[0] == "S":
        plain = "".join(one for one in plain if one not in GREEK)
    letters = [one for one in plain if unicodedata.category(one)[0] == "L"]
    if letters:
        ours = all(unicodedata.name(one, "").startswith(OURS) for one in letters)
        return ALLOWED if ours else OUT
    if category[0] == "M" and not name.startswith(MARKS):
        return OUT
    return OUT if any(one in name for one in FOREIGN) else OTHER


@cache
def _completions(start: bytes) -> frozenset[bool]:
    """Whether the letters that this can become are allowed; all else it can become goes with them,
    but for the brackets and dots that Korean shares with its neighbours.

    `start`: a part of one character, from its first byte."""
    missing = _length(start[0]) - len(start)
    low = _value(start) << 6 * missing
    verdicts = _verdicts()[low : low + (1 << 6 * missing)]
    may = ALLOWED in verdicts or (OTHER in verdicts and OUT not in verdicts)
    return frozenset([may, may and OUT not in verdicts])


def _length(lead: int) -> int:
    """Bytes of the character that begins so; 1 for what is no beginning."""
    for length, least in ((4, 0xF0), (3, 0xE0), (2, 0xC2)):
        if lead >= least:
            return length if lead < 0xF5 else 1
    return 1


def _goes_on(byte: int) -> bool:
    """It is inside a character, or ends one."""
    return byte & 0xC0 == 0x80


def _value(start: bytes) -> int:
    value = start[0] & (0xFF >> (_length(start[0]) + 1))
    for one in start[1:]:
        value = value << 6 | one & 0x3F
    return value


def _walk(text: bytes) -> tuple[bool, bytes]:
    """Whether all of it is, or may become, allowed; and the unfinished character at its end, if it
    matters how that goes on."""
    at = len(text) if text.isascii() else 0
    while at < len(text):
        length = _length(text[at])
        piece = text[at : at + length]
        if length > 1 and len(piece) < length and all(map(_goes_on, piece[1:])):
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
        following: (states, vocabulary) int16.
        free: the state of who may say anything, which has no end.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        texts = token_bytes(tokenizer, vocabulary)
        silent = [number for number, text in enumerate(texts) if not text]
        inside = [number for number, text in enumerate(texts) if text and _goes_on(text[0])]
        states = {b"": 0}
        masks, following = [bytearray(vocabulary)], [array("h", bytes(2 * vocabulary))]
        for start in states_as_they_come(states):
            state = states[start]
            if state:
                # Whatever does not go on with the unfinished character leaves it as it is.
                masks.append(masks[0][:])
                following.append(following[0][:])
            for number in inside if state else range(len(texts)):
                fine, end = _walk(start + texts[number])
                masks[state][number] = not fine
                following[state][number] = states.setdefault(end, len(states)) if fine else 0
            for number in silent:  # bytes before and after it meet
                following[state][number] = state
        self.free = len(masks)
        masks.append(bytearray(vocabulary))
        following.append(array("h", [self.free]) * vocabulary)
        self.masks = torch.tensor(np.array(masks, dtype=np.bool_))
        self.following = torch.tensor(np.array(following))


def states_as_they_come(states: dict[bytes, int]) -> Iterator[bytes]:
    """Those that are added meanwhile, too."""
    for number in count():
        if number == len(states):
            return
        yield list(states)[number]


def token_bytes(tokenizer: Any, vocabulary: int) -> list[bytes]:
    """What each token adds to the text; special ones, and numbers without a token, add nothing."""
    special = set(tokenizer.all_special_ids)
    added = tokenizer.added_tokens_decoder
    names = tokenizer.convert_ids_to_tokens(list(range(min(vocabulary, len(tokenizer)))))
    byte_level = any("Ġ" in (name or "") for name in names)
    told = []
    for number, name in enumerate(names):
        if name is None or number in special or (number in added and added[number].special):
            told.append(b"")
        elif number in added:
            told.append(added[number].content.encode())
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
