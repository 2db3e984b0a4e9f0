"""Does a text go round in circles? Models that lose their thread say one word, one clause, one
syllable or one sign for ever, with spaces between or without.

Honest Korean repeats, too, as in "하하하" and "반짝반짝": so each kind of unit has a number of
times that only a loop reaches.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

MOST_UNIT = 1000
"""Words or characters of what is repeated."""
LETTERS_TIMES = {1: 6, 2: 4, 3: 4}
"""Of a unit of so many characters; longer ones three times."""
SIGNS = 12
"""Characters of a loop of digits or signs, at least: numbers and rules are honest."""
_BLANKS = re.compile(r"\s{20}")


def is_repetitive(text: str) -> bool:
    """A group of words three times in a row, one four-word phrase in a quarter of the text, or
    characters over and over, wherever its spaces are."""
    words = text.split()
    return (
        _goes_round(words, lambda _: 3)
        or _phrase_fills(words)
        or _goes_round("".join(words), _times)
        or _BLANKS.search(text.strip()) is not None
    )


def _times(unit: Sequence[str]) -> int:
    """So often it is no accident."""
    if any(one.isalpha() for one in unit):
        return LETTERS_TIMES.get(len(unit), 3)
    return max(3, -(-SIGNS // len(unit)))


def _goes_round(units: Sequence[str], times: Callable[[Sequence[str]], int]) -> bool:
    """A group of them stands several times in a row."""
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(one, len(numbers)) for one in units], dtype=np.int64)
    for width in range(1, min(MOST_UNIT, len(units) // 3) + 1):
        start, same = _longest_run(codes[width:] == codes[:-width])
        if same >= width * (times(units[start : start + width]) - 1):
            return True
    return False


def _longest_run(same: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[int, int]:
    """Where it begins, and how long it is."""
    breaks = np.flatnonzero(~np.concatenate([[False], same, [False]]))
    runs = np.diff(breaks) - 1
    longest = int(runs.argmax())
    return int(breaks[longest]), int(runs[longest])


def _phrase_fills(words: list[str]) -> bool:
    phrases = Counter(tuple(words[i : i + 4]) for i in range(len(words) - 3))
    return bool(phrases) and max(phrases.values()) >= max(3, len(phrases) / 4)
