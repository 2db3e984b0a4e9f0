"""The corpus of bad videos is what it says: large, without repeats, and the same each time."""

import pytest

from shared.errors import JamakError
from tests.hostile.corpus import Hostile, made, make_corpus
from tests.hostile.mutated import mutated

OUTCOMES = {
    "ok",
    "partial",
    "empty_file",
    "not_a_video",
    "no_video_stream",
    "truncated",
    "too_large",
    "too_slow",
}


def contents(corpus: list[Hostile]) -> dict[str, bytes]:
    return {entry.name: entry.path.read_bytes() for entry in corpus}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Hostile]:
    return make_corpus(tmp_path_factory.mktemp("hostile"))


def test_every_entry_is_another_one(corpus: list[Hostile]) -> None:
    found = contents(corpus)
    assert len(found) == len(corpus) >= 60
    assert len(set(found.values())) == len(found)


def test_every_entry_says_what_may_come_of_it(corpus: list[Hostile]) -> None:
    reasons = {error.reason for error in _kinds(JamakError)}
    assert {"ok", "partial"} | reasons >= OUTCOMES
    assert all(entry.expect and entry.expect <= OUTCOMES for entry in corpus)
    assert set().union(*(entry.expect for entry in corpus)) == OUTCOMES


def test_the_corpus_is_the_same_each_time(corpus: list[Hostile]) -> None:
    again = {name: content for name, _, content in made.__wrapped__()}
    different = [name for name, content in contents(corpus).items() if again[name] != content]
    assert different == []


def test_a_mutation_is_known_by_its_seed(corpus: list[Hostile]) -> None:
    source = next(entry for entry in corpus if entry.name == "plain.mp4").path.read_bytes()
    mutants = [mutated(source, seed) for seed in range(100)]
    assert mutants == [mutated(source, seed) for seed in range(100)]
    assert len(set(mutants) - {source}) > 90
    assert mutated(b"", 1) == mutated(b"", 1)


def _kinds(kind: type[JamakError]) -> list[type[JamakError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _kinds(child))]
