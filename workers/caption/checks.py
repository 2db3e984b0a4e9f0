"""Can a caption be believed? Cheap checks on the text alone; each failed one is a flag."""

import re
from typing import Literal

from shared.errors import EmptyCaption
from shared.messages import Flag
from shared.prompts import MARK
from shared.text import composed, is_blank, is_plain
from workers.caption.loops import is_repetitive
from workers.model.spoken import delivered

_HANGUL = re.compile(r"[가-힣\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\ud7b0-\ud7fb]")
"""Syllables, letters, and the letters of old syllables."""
_LETTER = re.compile(r"[^\W\d_]")


def check_text(
    text: str,
    *,
    finished: bool,
    set_by: str,
    frames_found: int,
    frames_expected: int,
    sparse: bool,
    damaged: bool,
    wrong_colours: bool,
) -> tuple[Literal["ok", "partial"], tuple[Flag, ...]]:
    """Status and flags of a caption.

    Args:
        text: as it was said, with all that is no text and all special tokens that it spells.
        finished: the model ended by itself, not at the greatest length.
        set_by: the setting that says how long that is.
        frames_expected: distinct frames that the sampling asked for.
        sparse: each frame stands for many seconds.
        damaged: parts of the video cannot be decoded.
        wrong_colours: those of its pictures could not be found.

    Raises:
        EmptyCaption: there is no text at all.
    """
    told = delivered(text)
    if is_blank(told):
        if finished:
            raise EmptyCaption("the caption is empty")
        raise EmptyCaption(
            "the caption was cut off before it said anything",
            cure=f"Raise {set_by} for new jobs; a model that thinks first needs many.",
        )
    flags: list[Flag] = []
    if not finished:
        flags.append("truncated")
    if not is_plain(text) or MARK.search(text):
        flags.append("garbled")
    if is_repetitive(text, cut=not finished):
        flags.append("repetitive")
    if hangul_share(told) < 0.5:
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
    hangul, other = letters_of(text)
    return hangul / (hangul + other) if hangul else 0.0


def letters_of(text: str) -> tuple[int, int]:
    """How many are of Hangul, and how many of other scripts."""
    text = composed(text)
    hangul, letters = len(_HANGUL.findall(text)), len(_LETTER.findall(text))
    return hangul, letters - hangul
