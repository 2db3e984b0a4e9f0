"""Is a short answer right? By its words alone: no other model is asked, so it can be repeated, and
a synonym is wrong."""

import re
import unicodedata

NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
)
ARTICLES = frozenset({"a", "an", "the"})
_WORD = re.compile(r"\w+(?:['’]\w+)?")


def normalised(text: str) -> tuple[str, ...]:
    """Words in lower case and composed form, numbers up to ten as digits, without articles."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    digits = (str(NUMBERS.index(word)) if word in NUMBERS else word for word in words)
    return tuple(word for word in digits if word not in ARTICLES)


def is_right(said: str, answer: str) -> bool:
    """It is the answer, or begins with it: "Yes, he is." is a right "yes"."""
    words, wanted = normalised(said), normalised(answer)
    return bool(wanted) and words[: len(wanted)] == wanted
