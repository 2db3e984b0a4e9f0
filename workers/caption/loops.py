"""Does a text go round in circles? Models that lose their thread say one word, one clause, one
syllable or one sign for ever, with spaces between or without.

Honest Korean repeats, too, as in "하하하하하하" and "반짝반짝 반짝반짝", and so do tables, ruled
lines and sums of money. So a run is judged by where it stands: it is nearly all of the text, or a
text that was cut ends in it, or it is far longer than anybody writes.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from shared.text import is_plain

MOST_UNIT = 1000
"""Words or characters of what is repeated."""
WORDS_TIMES, SIGN_WORDS_TIMES = 3, 5
"""Of a group of words; of one without a letter, as in `**** **** ****`."""
NEARLY_ALL = 0.9
"""Of a text."""
COUNTED_TIMES, COUNTED_UNIT = 6, 8
"""Of a sentence in which only a number changes; its characters, at least."""
_NUMBER = re.compile(r"\d+")
_BLANKS = re.compile(r"\s{80}|(?<=\S)[^\S\n]{30}|(?:[^\S\n]*\n){10}")
"""An indented line is honest, and so are columns that are set with spaces."""
_BLANK_END = re.compile(r"\s{12}\Z")
_RULE = re.compile(r"[-=_─━|:+* \t]{3,120}")
"""A line under a title or in a table."""


class Often(NamedTuple):
    """How many times are too many. Digits and signs are counted by their characters."""

    letters: tuple[int, int, int]
    """Of a unit of one, two and three characters; of a longer one three times."""
    signs: int


MUCH = Often((16, 8, 6), 40)
"""Wherever it stands."""
SOME = Often((6, 4, 4), 12)
"""Where it is nearly all, or the end of what was cut; and of what is no text at all."""


def is_repetitive(text: str, *, cut: bool = False) -> bool:
    """A group of words several times in a row, one four-word phrase in a quarter of the text, or
    characters over and over, wherever its spaces are.

    Args:
        cut: it did not end by itself.
    """
    if _BLANKS.search(text.strip()) or (cut and _BLANK_END.search(text)):
        return True
    words = _without_rules(text).split()
    characters = "".join(words)
    return (
        any(times >= _words_times(unit) for unit, times, _, _ in _runs(words))
        or _phrase_fills(words)
        or _characters_go_round(characters, cut)
        or any(
            times >= COUNTED_TIMES and len(unit) >= COUNTED_UNIT and _letters(unit)
            for unit, times, _, _ in _runs(_NUMBER.sub("0", characters))
        )
    )


def _words_times(unit: Sequence[str]) -> int:
    return WORDS_TIMES if _letters("".join(unit)) else SIGN_WORDS_TIMES


def _characters_go_round(text: str, cut: bool) -> bool:
    for unit, times, start, end in _runs(text):
        stands_out = end - start >= NEARLY_ALL * len(text) or (cut and end == len(text))
        if times >= _too_often("".join(unit), SOME if stands_out else MUCH):
            return True
    return False


def _too_often(unit: str, often: Often) -> int:
    if not is_plain(unit):
        often = SOME
    letters = _letters(unit)
    if not letters or (len(letters) == 1 and len(unit) > len(often.letters)):  # `XXXX-XXXX-XXXX`
        return max(3, -(-often.signs // len(unit)))
    return often.letters[len(unit) - 1] if len(unit) <= len(often.letters) else 3


def _letters(unit: Sequence[str]) -> set[str]:
    """Emoji are said like letters."""
    return {one for one in "".join(unit) if one.isalpha() or one >= "\U0001f000"}


def _runs(units: Sequence[str]) -> Iterator[tuple[Sequence[str], int, int, int]]:
    """What stands three times in a row, at least: the unit, how often, and from where to where."""
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(one, len(numbers)) for one in units], dtype=np.int64)
    for width in range(1, min(MOST_UNIT, len(units) // 3) + 1):
        same = codes[width:] == codes[:-width]
        breaks = np.flatnonzero(~np.concatenate([[False], same, [False]]))
        lengths = np.diff(breaks) - 1
        for number in np.flatnonzero(lengths >= 2 * width).tolist():
            start, length = int(breaks[number]), int(lengths[number])
            unit = units[start : start + width]
            if not _repeats(unit):
                yield unit, length // width + 1, start, start + length + width


def _repeats(unit: Sequence[str]) -> bool:
    """It is a shorter one several times, which was looked at."""
    size = len(unit)
    return any(size % part == 0 and unit[part:] == unit[:-part] for part in range(1, size // 2 + 1))


def _without_rules(text: str) -> str:
    """Without lines that only part others: two in a row part nothing."""
    lines = text.split("\n")
    ruled = [_RULE.fullmatch(line) is not None for line in lines]
    around = zip([True, *ruled], ruled, [*ruled[1:], True], strict=False)
    parts = [one and not before and not after for before, one, after in around]
    return "\n".join(line for line, apart in zip(lines, parts, strict=True) if not apart)


def _phrase_fills(words: list[str]) -> bool:
    phrases = Counter(tuple(words[i : i + 4]) for i in range(len(words) - 3))
    return bool(phrases) and max(phrases.values()) >= max(3, len(phrases) / 4)
