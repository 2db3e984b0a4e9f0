"""Which characters a Korean caption may hold: Latin letters, Hangul, digits, punctuation, signs.

Han, kana, Cyrillic and all other letters are foreign. Knows nothing of tokens.
"""

import unicodedata
from functools import cache

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


def allowed(character: str) -> bool:
    return verdicts()[ord(character)] in (OTHER, ALLOWED)


@cache
def verdicts() -> bytes:
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
