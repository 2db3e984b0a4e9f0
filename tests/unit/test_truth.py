"""benchmarks.truth finds what is wrong, and nothing else: of its own drawings, and of a film."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.truth.corpus import FILMS, QUICK
from benchmarks.truth.corpus.codecs import X264
from benchmarks.truth.corpus.plain import plain
from benchmarks.truth.films import Film, evenly
from benchmarks.truth.judging import combing, wrong_with
from benchmarks.truth.painting import BLACK, TURNS, Read, framed, outside, paint, read, with_stripe
from benchmarks.truth.reference import decode
from benchmarks.truth.studio import Studio

FILM = plain("plain", "film.mp4", *X264)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    FILM.make(Studio(folder / "parts"), folder / FILM.name)
    return folder / FILM.name


@pytest.mark.parametrize("size", [(160, 96), (96, 160), (161, 97), (720, 576)])
def test_a_picture_says_its_number_and_how_it_was_turned(size: tuple[int, int]) -> None:
    for number in (0, 1, 2, 511, 1023, 1024 + 7):
        assert read(paint(number, size, number % 3)).number == number % 1024
    for turn, name in enumerate(TURNS):
        picture = paint(77, size)[:, ::-1] if turn >= 4 else paint(77, size)
        assert read(np.rot90(picture, turn % 4)) == Read(77, name)
    assert read(paint(5, size, BLACK)).number is None
    assert outside(paint(5, size)) == 0
    assert outside(framed(paint(5, size), 8, 0, 0, 0)) > 0.01


def test_fields_are_told_from_frames() -> None:
    one, other = (with_stripe(paint(3, (160, 96)), place) for place in (0.2, 0.3))
    woven = one.copy()
    woven[1::2] = other[1::2]
    assert combing(np.stack([one, other])) < 1
    assert combing(np.stack([woven, woven])) > 10


def test_a_film_as_it_was_drawn_is_not_wrong(path: Path) -> None:
    assert wrong_with(FILM, path) == []
    told = decode(path)
    assert [one.number for one in told.seen] == list(range(30))
    assert told.times_s == FILM.shown.times_s


@pytest.mark.parametrize(
    ("drawn", "what"),
    [
        (
            lambda film: replace(film, shown=evenly(30, 25, first=1)),
            "in a part: frames 17 19 21 23",
        ),
        (lambda film: replace(film, shown=evenly(30, 24)), "lasts 1.200 s for 1.250"),
        (lambda film: replace(film, shown=evenly(30, 25, held_s=1)), "the part of 0.77 s is"),
        (lambda film: replace(film, aspect=4 / 3), "160x96 is 1.667 wide for 1.333"),
        (lambda film: replace(film, cuts_s=(0.5,)), "scene changes at none for 0.5"),
        (lambda film: replace(film, colours={"top left": (0, 0, 0)}), "the corner top left is"),
        (lambda film: replace(film, is_film=False), "read, though it holds no film"),
    ],
)
def test_what_is_otherwise_than_drawn_is_told(
    path: Path, drawn: Callable[[Film], Film], what: str
) -> None:
    assert any(what in one for one in wrong_with(drawn(FILM), path))


def test_what_is_refused_is_wrong_unless_it_may_be_and_is_named(tmp_path: Path) -> None:
    text = tmp_path / "film.mp4"
    text.write_text("this is no film")
    (told,) = wrong_with(FILM, text)
    assert told.startswith("refused: NotAVideo: ")
    assert wrong_with(replace(FILM, refused_as="ogg"), text) == [told]


def test_there_are_many_films_of_many_kinds() -> None:
    names = [film.name for film in FILMS]
    assert len(set(names)) == len(names) >= 120
    assert len({film.kind for film in FILMS}) >= 40
    assert set(names) >= QUICK
