"""What the demo's films can show, and which of it is kept from training."""

import pytest
from hypothesis import given

from infra.demo.lesson import demo_takes, new_takes, training_takes
from infra.demo.scenes import (
    BACKGROUNDS,
    DIAGONALS,
    HELD_OUT,
    KINDS,
    KNOWN,
    MOTIONS,
    NEW,
    SHAPES,
    UNSEEN_COLOUR,
    Figure,
    Kind,
    Scene,
    Vocabulary,
    combinations,
    freeze,
    held_out,
    reverse,
    sample_scenes,
    single,
)
from tests.scenes import scenes


@given(scenes)
def test_backwards_twice_is_forwards(scene: Scene) -> None:
    assert reverse(reverse(scene)) == scene
    motions = [figure.motion for part in scene.parts for figure in part.figures]
    stands_still = scene.then is None and set(motions) <= {"still"}
    assert (reverse(scene) == scene) == stands_still


def test_backwards_the_second_scene_comes_first() -> None:
    scene = Scene(
        "black",
        (Figure("red", "circle", "upwards"),),
        then=single("white", "blue", "star", "growing"),
    )
    assert reverse(scene) == Scene(
        "white",
        (Figure("blue", "star", "shrinking"),),
        then=single("black", "red", "circle", "downwards"),
    )


@given(scenes)
def test_a_frozen_film_shows_its_beginning_at_rest(scene: Scene) -> None:
    frozen = freeze(scene)
    assert frozen.then is None
    assert frozen.background == scene.background
    assert [(f.colour, f.shape, f.motion) for f in frozen.figures] == [
        (f.colour, f.shape, "still") for f in scene.figures
    ]


@pytest.mark.parametrize(
    ("background", "figures"),
    [
        ("beige", ()),
        ("black", (Figure("red", "cat", "still"),)),
        ("black", (Figure("red", "star", "sideways"),)),
        ("black", (Figure("blue", "star", "still"), Figure("red", "star", "still"))),
        ("black", (Figure("red", "star", "still"), Figure("red", "heart", "still"))),
        ("black", tuple(Figure(c, "star", "still") for c in ("red", "green", "blue"))),
    ],
    ids=["background", "shape", "motion", "order", "same colour", "three"],
)
def test_what_has_no_caption_is_no_scene(background: str, figures: tuple[Figure, ...]) -> None:
    with pytest.raises(ValueError, match=r"vocabulary|at most two"):
        Scene(background, figures)


def test_at_most_one_cut() -> None:
    with pytest.raises(ValueError, match="one cut"):
        Scene("black", then=Scene("white", then=Scene("navy")))


def test_the_split_is_stable() -> None:
    singles = [
        single(background, colour, shape, motion)
        for background in BACKGROUNDS
        for colour in KNOWN.colours
        for shape in SHAPES
        for motion in MOTIONS
    ]
    kept = [scene for scene in singles if held_out(scene)]
    assert len(kept) == 277
    assert abs(len(kept) / len(singles) - HELD_OUT) < 0.02
    assert held_out(single("black", "red", "circle", "still")) is False
    assert not any(held_out(Scene(background)) for background in BACKGROUNDS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "empty"])
def test_training_films_show_nothing_that_is_held_out(kind: Kind) -> None:
    train, fresh = (sample_scenes(600, 1, split=side, kind=kind) for side in ("train", "heldout"))
    assert all(scene.kind == kind for scene in train + fresh)
    shown = {name for scene in train for name in combinations(scene)}
    assert all(set(combinations(scene)) - shown for scene in fresh)
    # Every attribute is still learnt: only combinations are held out.
    for name in ("colour", "shape", "motion"):
        seen, asked = (
            {getattr(f, name) for scene in side for part in scene.parts for f in part.figures}
            for side in (train, fresh)
        )
        assert seen >= asked


def test_a_pair_of_objects_is_a_combination_of_its_own() -> None:
    pair = Scene("black", (Figure("red", "circle", "still"), Figure("blue", "star", "growing")))
    assert "red circle + blue star" in set(combinations(pair))
    fresh = sample_scenes(200, 2, split="heldout", kind="two_objects")
    alone = [[Scene(scene.background, (figure,)) for figure in scene.figures] for scene in fresh]
    assert any(not any(map(held_out, parts)) for parts in alone)


def test_no_shipped_model_meets_the_unseen_colour() -> None:
    for kind in KINDS:
        for scene in sample_scenes(300, 3, split="train", kind=kind):
            assert UNSEEN_COLOUR not in str(scene)
    assert {s.figures[0].colour for s in sample_scenes(50, 3, split="train", vocabulary=NEW)} == {
        UNSEEN_COLOUR
    }


def test_a_vocabulary_bounds_what_is_shown() -> None:
    straight = Vocabulary(KNOWN.colours, tuple(m for m in MOTIONS if m not in DIAGONALS))
    assert len(DIAGONALS) == 4
    for kind in KINDS:
        for scene in sample_scenes(200, 3, split="train", kind=kind, vocabulary=straight):
            assert not any(diagonal in str(scene) for diagonal in DIAGONALS)


def test_samples_are_seeded() -> None:
    assert sample_scenes(50, 7, split="train") == sample_scenes(50, 7, split="train")
    assert sample_scenes(50, 7, split="train") != sample_scenes(50, 8, split="train")


def test_the_lesson_teaches_what_it_does_not_ask() -> None:
    taught, asked = training_takes(), new_takes(40) + demo_takes(40)
    shared = {take.scene for take in taught} & {take.scene for take in asked}
    assert all(scene.kind == "empty" for scene in shared)
    assert all(take.scene.figures[0].colour == UNSEEN_COLOUR for take in new_takes(40))
    assert {take.scene.kind for take in demo_takes(8)} == set(KINDS)
    assert UNSEEN_COLOUR not in str(demo_takes(40))
    assert len({take.clip.seed for take in taught + asked}) == len(taught + asked)
    assert len({take.id for take in taught + asked}) == len(taught + asked)
