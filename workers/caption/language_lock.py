"""Which tokens would begin a letter of a foreign script, after what a row has said.

A token is judged by its bytes, after those of an unfinished character before it: it is out when no
continuation of it could be allowed (shared/scripts.py). So the first byte of what can only be Han
is out, and after one that may begin Hangul or kana only the bytes of Hangul are left.

A character that is begun is ended: what would leave it as a part of one is out. Otherwise a model
that is kept from the end that it wanted would break off, and leave half a syllable.

What a row has said matters only to the few tokens that begin inside a character: there is a table
of those, and one verdict for each of all others. Built once from the tokenizer; knows nothing of
models and devices.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import torch

from shared.scripts import ALLOWED, OTHER, OUT, allowed, verdicts
from workers.model.pieces import token_bytes

Walk = tuple[bool, bytes]
"""Whether all of a text is, or may become, allowed; and the unfinished character at its end."""
ANY = {1: b"\xea\xb0", 2: b"\xeb"}
"""By the bytes that are missing, a beginning of which all ends are allowed, for all such."""
BROKEN: Walk = False, b""


@cache
def _completions(start: bytes) -> frozenset[bool]:
    """Whether the letters that this can become are allowed; all else it can become goes with them,
    but for the brackets and dots that Korean shares with its neighbours.

    `start`: a part of one character, from its first byte."""
    missing, length = _length(start[0]) - len(start), _length(start[0])
    low = _value(start) << 6 * missing
    high = low + (1 << 6 * missing)
    least = LEAST[length]  # with fewer it is longer than need be: not UTF-8
    all_of = verdicts()[max(low, least) : max(high, least)]
    may = ALLOWED in all_of or (OTHER in all_of and OUT not in all_of)
    utf8 = low >= least and not (low < 0xE000 and high > 0xD800)  # no halves of UTF-16 pairs
    return frozenset([may, may and OUT not in all_of and utf8])


LEAST = {2: 0x80, 3: 0x800, 4: 0x10000}
"""By its bytes, the first character that has so many."""


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


def _walk(text: bytes) -> Walk:
    at = len(text) if text.isascii() else 0
    while at < len(text):
        length = _length(text[at])
        piece = text[at : at + length]
        if length > 1 and len(piece) < length and all(map(_goes_on, piece[1:])):
            ends = _completions(piece)
            if True not in ends:
                return BROKEN
            return True, piece if False in ends else ANY.get(length - len(piece), piece)
        try:
            character = piece.decode()
        except UnicodeDecodeError:
            return BROKEN
        if not allowed(character):
            return BROKEN
        at += length
    return True, b""


def _walk_all(texts: Sequence[bytes]) -> list[Walk]:
    """As `_walk`, of many that are mostly whole characters."""
    whole: dict[int, str] = {}
    walks: list[Walk] = [(True, b"")] * len(texts)
    for number, text in enumerate(texts):
        if not text.isascii():
            try:
                whole[number] = text.decode()
            except UnicodeDecodeError:
                walks[number] = _walk(text)
    foreign = {one for one in set("".join(whole.values())) if not allowed(one)}
    for number, characters in whole.items():
        if not foreign.isdisjoint(characters):
            walks[number] = False, b""
    return walks


def _cut(text: bytes, missing: int) -> tuple[bytes, Walk | None]:
    """What of it goes on with a character that lacks so many bytes, and a walk along what follows;
    None: nothing does. After a whole character there is nothing to go on with: it is no text then,
    and not ours to judge."""
    inside = next((at for at, byte in enumerate(text) if not _goes_on(byte)), len(text))
    if not missing:
        return b"", _walk(text[inside:])
    if inside < missing:  # it goes on, or breaks off
        return (text, None) if inside == len(text) else (b"", BROKEN)
    return text[:missing], _walk(text[missing:]) if len(text) > missing else None


def _walk_from(start: bytes, cuts: Sequence[tuple[bytes, Walk | None]]) -> list[Walk]:
    firsts = {first: _walk_on(start + first) if first else (True, b"") for first, _ in cuts}
    return [firsts[first] if rest is None or not firsts[first][0] else rest for first, rest in cuts]


def _walk_on(character: bytes) -> Walk:
    """One that is begun, and may be whole now."""
    if len(character) == _length(character[0]):
        try:
            return allowed(character.decode()), b""
        except UnicodeDecodeError:
            return BROKEN
    return _walk(character)


class LanguageLock:
    """A row has a state, 0 at first, and then `after[state, column[token]]`; in any other one it is
    inside a character, where only those tokens are left that go on with it (`inside`), or are
    `silent`. Of the first it may not say what is `inside_out[state]`, of all others what is `out`.

    Attributes:
        out: (vocabulary,) bool.
        silent: (some,) tokens. They add nothing to the text.
        inside: (some,) tokens.
        inside_out: (states, some) bool.
        column: (vocabulary,) int64.
        after: (states, columns) int64.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        texts = token_bytes(tokenizer, range(vocabulary))
        inside = [number for number, text in enumerate(texts) if text and _goes_on(text[0])]
        silent = [number for number, text in enumerate(texts) if not text]
        walks = _walk_all(texts)
        states = {b"": 0}
        for _, end in walks:
            states.setdefault(end, len(states))
        cuts: dict[int, list[tuple[bytes, Walk | None]]] = {}
        told: list[list[Walk]] = []
        for start in _as_they_come(states):
            missing = _length(start[0]) - len(start) if start else 0
            if missing not in cuts:
                cuts[missing] = [_cut(texts[number], missing) for number in inside]
            told.append(_walk_from(start, cuts[missing]))
            for _, end in told[-1]:
                states.setdefault(end, len(states))
        # Columns: into each of the states whatever the state; staying; each token inside.
        number_of, ends = len(states), [states[end] for _, end in walks]
        column = np.array(ends)
        column[silent] = number_of
        column[inside] = number_of + 1 + np.arange(len(inside))
        every = np.arange(number_of)
        after = np.concatenate(
            [
                np.broadcast_to(every, (number_of, number_of)),
                every[:, None],
                np.array([[states[end] for _, end in one] for one in told]).reshape(number_of, -1),
            ],
            axis=1,
        )
        out = np.array([not fine for fine, _ in walks])
        out[inside] = False
        self.silent = torch.tensor(silent, dtype=torch.long)
        self.out, self.inside = torch.from_numpy(out), torch.tensor(inside, dtype=torch.long)
        self.inside_out = torch.tensor([[not fine for fine, _ in one] for one in told])
        self.column, self.after = torch.from_numpy(column), torch.from_numpy(after)


def _as_they_come(states: dict[bytes, int]) -> Iterator[bytes]:
    """Those that are added meanwhile, too."""
    for number in count():
        if number == len(states):
            return
        yield list(states)[number]
