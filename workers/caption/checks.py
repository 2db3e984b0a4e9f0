"""Can a caption be believed? Cheap checks on the text alone; each failed one is a flag."""

import re
from collections import Counter
from typing import Literal

from shared.errors import EmptyCaption
from shared.messages import Flag

_HANGUL = re.compile(r"[가-힣]")
_LETTER = re.compile(r"[^\W\d_]")


def check_text(
    text: str,
    *,
    finished: bool,
    frames_found: int,
    frames_expected: int,
    sparse: bool,
    damaged: bool,
    wrong_colours: bool,
) -> tuple[Literal["ok", "partial"], tuple[Flag, ...]]:
    """Status and flags of a caption.

    Args:
        finished: the model ended by itself, not at max_new_tokens.
        frames_expected: distinct frames that the sampling asked for.
        sparse: each frame stands for many seconds.
        damaged: parts of the video cannot be decoded.
        wrong_colours: those of its pictures could not be found.

    Raises:
        EmptyCaption: there is no text at all.
    """
    if not text.strip():
        raise EmptyCaption("the caption is empty")
    flags: list[Flag] = []
    if not finished:
        flags.append("truncated")
    if is_repetitive(text):
        flags.append("repetitive")
    if hangul_share(text) < 0.5:
        flags.append("wrong_language")
    if frames_found < frames_expected or sparse:
        flags.append("low_coverage")
    if damaged:
        flags.append("damaged")
    if wrong_colours:
        flags.append("hdr")
    return ("partial" if flags else "ok"), tuple(flags)


def hangul_share(text: str) -> float:
    """Of its letters; names and units in other scripts are fine in a Korean caption."""
    letters = _LETTER.findall(text)
    return len(_HANGUL.findall(text)) / len(letters) if letters else 0.0


def is_repetitive(text: str) -> bool:
    """A group of words three times in a row, or one four-word phrase in a quarter of the text.

    Degenerate models loop on one word, one clause or one sentence; honest Korean does not.
    """
    words = text.split()
    for width in range(1, len(words) // 3 + 1):
        for start in range(len(words) - 3 * width + 1):
            first, second, third = (
                words[start + i * width : start + (i + 1) * width] for i in range(3)
            )
            if first == second == third:
                return True
    phrases = Counter(tuple(words[i : i + 4]) for i in range(len(words) - 3))
    return bool(phrases) and max(phrases.values()) >= max(3, len(phrases) / 4)
