"""What is said to people, in their language: English, or Korean where that is asked for.

The code, records in the bucket, logs and `--json` are English. Where a person reads, `spoken` looks
a finished message up in `korean.toml`, whose English phrases have `{}` for each value. Values are
carried over as they are, and what is in no phrase is shown in English rather than lost. Knows
nothing of who speaks.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import count, islice
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from shared.errors import JamakError

LANGUAGE = "JAMAK_LANG"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first that is set counts, as in the C library."""
CATALOGUE = Path(__file__).with_name("korean.toml")
SPLITS = 16
"""Ways to read one message that are tried."""
DEPTH = 3
"""Messages in messages."""


def is_korean(environ: Mapping[str, str] = os.environ) -> bool:
    """Read here and not from the settings: their own errors have to be told, too."""
    asked = environ.get(LANGUAGE)
    if asked in ("ko", "en"):
        return asked == "ko"
    locale = next((environ[name] for name in LOCALE if environ.get(name)), "")
    return re.match(r"ko(?![a-z])", locale) is not None


def spoken(message: str) -> str:
    """A message as it is shown to a person."""
    return in_korean(message) or message if is_korean() else message


def spoken_error(error: JamakError) -> str:
    """The message of an error; where it is about several variables, each is a message."""
    variables: dict[str, str] | None = error.evidence.get("variables")
    if variables is None:
        return spoken(str(error))
    return "; ".join(f"{name}: {spoken(what)}" for name, what in variables.items())


class Phrase(NamedTuple):
    english: tuple[str, ...]
    """What is around its values."""
    korean: str
    nested: tuple[int, ...]
    """Which of its values may be a message themselves."""

    @property
    def letters(self) -> int:
        return sum(map(str.isalpha, "".join(self.english)))


@lru_cache(1024)
def in_korean(message: str, depth: int = DEPTH) -> str | None:
    """None: it is no phrase of the catalogue."""
    for phrase, fits in phrases():
        for values in islice(_splits(phrase.english, message), SPLITS):
            ours = {at: in_korean(values[at], depth - 1) if depth else None for at in phrase.nested}
            if fits(ours.values()):
                return phrase.korean.format(*map(Value, values, map(ours.get, count())))
    return None


class Value(str):
    """Of a message; `{:ours}` is what it is in Korean, if it is a message itself."""

    ours: str | None

    def __new__(cls, text: str, ours: str | None = None) -> "Value":
        value = super().__new__(cls, text)
        value.ours = ours
        return value

    def __format__(self, spec: str) -> str:
        return (self.ours if spec == "ours" else None) or str(self)


def _splits(parts: tuple[str, ...], message: str) -> Iterator[list[str]]:
    """The values of each way to read a message as these parts with something between them."""
    head, *rest = parts
    if not message.startswith(head) or not message.endswith(parts[-1]):
        return
    if not rest:
        if message == head:
            yield []
        return
    yield from _between(rest, message.removeprefix(head))


def _between(parts: list[str], message: str) -> Iterator[list[str]]:
    head, *rest = parts
    if not rest:
        if message.endswith(head):
            yield [message.removesuffix(head)]
        return
    at = message.find(head)
    found = True
    while at >= 0 and found:
        found = False  # then there is nothing further on, either
        for values in _between(rest, message[at + len(head) :]):
            found = True
            yield [message[:at], *values]
        at = message.find(head, at + 1)


@cache
def phrases() -> list[tuple[Phrase, Callable[[Iterable[str | None]], bool]]]:
    """In the order in which they are tried, and which of the nested values have to be ours.

    A value that is a message of ours tells where it begins and ends.

    First what has no values, then what is around other messages; most words of its own first, for
    it means one thing. Last
    what hardly has words of its own, such as `{}: {}`: there one value has to be a message.
    """
    import tomllib  # in English nobody waits for it

    groups = tomllib.loads(CATALOGUE.read_text(encoding="utf-8")).values()
    found = [
        Phrase(around(english), korean, _nested(korean))
        for group in groups
        for english, korean in group.items()
    ]
    found.sort(key=lambda phrase: -sum(map(len, phrase.english)))
    return [
        *((one, lambda _: True) for one in found if len(one.english) == 1),
        *((one, all) for one in found if one.nested and one.letters),
        *((one, lambda _: True) for one in found if one.letters >= 6 or not one.nested),
        *((one, any) for one in found if one.letters < 6 and one.nested),
    ]


def around(phrase: str) -> tuple[str, ...]:
    """What is around the values of a phrase."""
    parts, text = [], ""
    for literal, name, _, _ in Formatter().parse(phrase):
        text += literal
        if name is not None:
            parts.append(text)
            text = ""
    return (*parts, text)


def _nested(korean: str) -> tuple[int, ...]:
    places = [(name, spec) for _, name, spec, _ in Formatter().parse(korean) if name is not None]
    return tuple(int(name or at) for at, (name, spec) in enumerate(places) if spec == "ours")
