"""What is text: whole characters in composed form (NFC), and nothing that is no character.

A Korean syllable can be written as one character or as two or three (NFD, as macOS writes names of
files): it looks the same and compares as different. A model says bytes, which need not be
characters at all. Who writes text for others, or compares it, goes through here. Knows nothing of
models and tokens.
"""

import re
import unicodedata

_LINE_ENDS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_RESERVED = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
"""They are no characters, and never will be."""
_NO_TEXT = re.compile(
    f"[{_RESERVED}"
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls: NUL, ESC, ...
    "\ud800-\udfff"  # halves of UTF-16 pairs
    "\ufffd\ufeff"  # what stands for broken bytes; the byte-order mark
    "\u202a-\u202e\u2066-\u2069]"  # they turn the direction of what follows (UAX #9)
)
_LEADS, _VOWELS, _TAILS = (
    "\u1100-\u115f\ua960-\ua97c",
    "\u1160-\u11a7\ud7b0-\ud7c6",
    "\u11a8-\u11ff\ud7cb-\ud7fb",
)
"""The letters that syllables are composed of (Unicode, "Conjoining Jamo Behavior")."""
_SYLLABLE_OR_PART = re.compile(
    f"((?:[{_LEADS}]+[{_VOWELS}]+|[가-힣])[{_TAILS}]*)|[{_LEADS}{_VOWELS}{_TAILS}]"
)
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters of no form, and Braille's space."""
_OPEN_END = re.compile(f"(?:[{_LEADS}]+[{_VOWELS}]*|\u200d+)\\Z")
"""More letters may follow; after a joiner, as in families of emoji, something has to."""


def composed(text: str) -> str:
    """NFC, and each line end a newline. The same text in two forms becomes the same."""
    return unicodedata.normalize("NFC", _LINE_ENDS.sub("\n", text))


def plain(text: str) -> str:
    """Composed, and without what is no text: controls, U+FFFD, parts of a syllable."""
    while (kept := _without_parts(_NO_TEXT.sub("", composed(text)))) != text:
        text = kept  # what was apart may now belong together
    return text


def is_plain(text: str) -> bool:
    """Nothing of it is lost when it is composed."""
    return plain(text) == composed(text)


def stray(text: str) -> str:
    """One that is no text, by its code point: `U+FFFD`; empty if there is none."""
    text = composed(text)
    found = _NO_TEXT.search(text) or next(
        (one for one in _SYLLABLE_OR_PART.finditer(text) if one[1] is None), None
    )
    return f"U+{ord(found[0]):04X}" if found else ""


def is_blank(text: str) -> bool:
    """There is nothing to be seen: spaces, joiners, fillers."""
    return all(one in _UNSEEN or unicodedata.category(one)[0] in "ZCM" for one in text)


def closed(text: str) -> str:
    """Without what a cut left open at its end: a syllable in letters, what a joiner joins."""
    return _OPEN_END.sub("", text)


def _without_parts(text: str) -> str:
    return _SYLLABLE_OR_PART.sub(lambda found: found[1] or "", text)
