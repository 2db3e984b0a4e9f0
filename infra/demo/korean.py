"""Particles: the small words whose form follows the last syllable of the word before them."""

SYLLABLES, FINALS = 11_172, 28
RIEUL = 8
"""Of the finals; the direction particle treats it as if there were none."""


def has_final_consonant(word: str) -> bool:
    """Whether the last syllable ends in a consonant (받침).

    Unicode orders the 11,172 syllables with the 28 finals innermost, "none" first
    (The Unicode Standard, chapter 3.12).
    """
    return _final(word) != 0


def with_subject(noun: str) -> str:
    """원 -> 원이, 하트 -> 하트가."""
    return noun + ("이" if has_final_consonant(noun) else "가")


def with_direction(noun: str) -> str:
    """왼쪽 -> 왼쪽으로, 위 -> 위로; after ㄹ as after a vowel."""
    return noun + ("로" if _final(noun) in (0, RIEUL) else "으로")


def _final(word: str) -> int:
    code = ord(word[-1]) - ord("가")
    if not 0 <= code < SYLLABLES:
        raise ValueError(f"{word!r} does not end in a Hangul syllable")
    return code % FINALS
