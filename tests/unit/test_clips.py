"""Scenes as films: where things are, what they look like, and the same bytes every time."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.demo.clips import (
    ALWAYS_FRAMES,
    CODECS,
    FRAME_RATES,
    LONGEST_S,
    MOST_PIXELS,
    SHORTEST_S,
    SIZES,
    Clip,
    Codec,
    film,
    render,
    sample_clip,
)
from infra.demo.scenes import BACKGROUNDS, PATHS, PLACES, Figure, Scene, sample_scenes, single
from infra.demo.staging import UNPAINTED_HUES, any_colour, staged
from tests.scenes import scenes

seeds = st.integers(0, 2**32)


@given(scenes, seeds)
def test_objects_stay_inside_the_centre_square(scene: Scene, seed: int) -> None:
    staging = staged(scene, seed)
    assert len(staging.looks) == len(scene.parts)
    for part, look in zip(scene.parts, staging.looks, strict=True):
        assert len(look.figures) == len(part.figures)
        for figure in look.figures:
            for progress in (0.0, 0.5, 1.0):
                x, y, radius = figure.at(progress)
                assert radius <= x <= 1.0 - radius
                assert radius <= y <= 1.0 - radius


@pytest.mark.parametrize("motion", PATHS)
@pytest.mark.parametrize("neighbours", [0, 1])
def test_an_object_goes_where_the_caption_says(motion: str, neighbours: int) -> None:
    figures = (Figure("red", "circle", motion), Figure("blue", "star", "still"))
    look = staged(Scene("black", figures[: neighbours + 1]), 3).looks[0].figures[0]
    step = np.subtract(look.end, look.start)
    way = tuple(np.round(np.sign(step) * (np.abs(step) > 0.1)))
    assert way == PLACES[PATHS[motion][1]]


def test_what_grows_and_what_stands_still() -> None:
    radii = {
        motion: staged(single("black", "red", "circle", motion), 1).looks[0].figures[0].radii
        for motion in ("still", "growing", "shrinking")
    }
    assert radii["still"][0] == radii["still"][1]
    assert radii["growing"][1] > 1.7 * radii["growing"][0]
    assert radii["shrinking"][0] > 1.7 * radii["shrinking"][1]


def test_two_objects_hardly_ever_touch() -> None:
    touching = 0
    for i, scene in enumerate(sample_scenes(100, 5, split="train", kind="two_objects")):
        one, other = staged(scene, i).looks[0].figures
        for progress in np.linspace(0, 1, 9):
            (x0, y0, r0), (x1, y1, r1) = one.at(progress), other.at(progress)
            if np.hypot(x1 - x0, y1 - y0) < r0 + r1:
                touching += 1
                break
    assert touching <= 5


def test_a_cut_comes_in_the_middle() -> None:
    scene = Scene("black", then=single("white", "red", "circle", "still"))
    clip = Clip(4, 64, 64, 24, 2.0)
    frames = render(scene, clip)
    cut = staged(scene, clip.seed).cut
    assert 0.3 < cut < 0.7
    bright = frames[:, 2, 2].mean(axis=1) > 128
    assert abs(int(np.argmax(bright)) / len(frames) - cut) < 0.05
    assert bright[np.argmax(bright) :].all()


@given(st.sampled_from(BACKGROUNDS), seeds)
def test_another_background_changes_nothing_else(background: str, seed: int) -> None:
    scene = single("black", "red", "circle", "rightwards")
    other = replace(scene, background=background)
    here, there = (staged(one, seed).looks[0] for one in (scene, other))
    assert here.figures == there.figures
    assert here.noise == there.noise


@given(seeds)
def test_formats_are_bounded(seed: int) -> None:
    clip = sample_clip(seed)
    assert (clip.width, clip.height) in SIZES
    assert clip.fps in FRAME_RATES
    assert SHORTEST_S <= clip.duration_s <= LONGEST_S
    pixels = clip.width * clip.height
    assert clip.frame_count * pixels <= max(MOST_PIXELS, ALWAYS_FRAMES * pixels)


def test_a_film_is_seeded_and_shows_its_colours() -> None:
    scene, clip = single("black", "green", "square", "rightwards"), Clip(5, 128, 128, 12, 1.0)
    frames = render(scene, clip)
    assert frames.shape == (12, 128, 128, 3)
    assert np.array_equal(frames, render(scene, clip))
    assert not np.array_equal(frames, render(scene, replace(clip, seed=6)))
    start = staged(scene, clip.seed).looks[0].figures[0].start
    x, y = (round(128 * place) for place in start)
    red, green, blue = frames[0, y, x].astype(int)
    assert green > 100 > max(red, blue)
    assert frames[0, 0, 0].max() < 60


@pytest.mark.parametrize("codec", sorted(set(CODECS)))
def test_a_film_is_the_same_file_each_time(codec: Codec, tmp_path: Path) -> None:
    for i, scene in enumerate(sample_scenes(3, 1, split="train", kind="two_objects")):
        clip = Clip(i, 96, 96, 24, 1.0, codec)
        first = film(scene, clip, tmp_path / "a").read_bytes()
        path = film(scene, clip, tmp_path / "b")
        assert path.read_bytes() == first
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == codec


def test_colours_without_a_name_are_never_purple() -> None:
    import colorsys

    rng = np.random.default_rng(0)
    hues = [360 * colorsys.rgb_to_hsv(*any_colour(rng))[0] for _ in range(500)]
    low, high = UNPAINTED_HUES
    assert not any(low < hue < high for hue in hues)
    assert max(hues) - min(hues) > 300
