"""How much work a caption is, and how fast a card is thought to be: as docs/cards.md has it."""

import json
import re
from pathlib import Path

import pytest

from shared.cards import CLASSES, GPU_CLASSES
from shared.messages import Recipe, Sampling
from shared.settings import CardName
from shared.units import Effort, Units, segments_of
from workers.unit_table import unit_table

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_the_planner_says() -> None:
    assert json.loads((ROOT / "shared/units.json").read_text()) == unit_table(), (
        "run: python -m workers.unit_table > shared/units.json"
    )


@pytest.mark.parametrize(
    ("model", "title"),
    [("llava-hf/LLaVA-NeXT-Video-7B-hf", "Vicuna-7B"), ("yi-34b", "Yi-34B"), ("other/model", "")],
)
def test_before_a_worker_ran_its_rate_is_that_of_the_page(model: str, title: str) -> None:
    page = (ROOT / "docs/cards.md").read_text()
    section = page.split(f"## {title or 'Vicuna-7B'}")[1].split("3x3 pooling")[0]
    told = {row[0]: row[-1] for row in re.findall(r"^\| (\w+) \|.* \| ([\d.]+) \|$", section, re.M)}
    assert told
    for card, seconds in told.items():
        assert 1 / Units(model).rate(card) == pytest.approx(float(seconds), abs=0.006)


@pytest.mark.parametrize("card", CLASSES)
def test_more_frames_and_more_segments_are_more_units(card: CardName) -> None:
    units = Units("vicuna-7b")
    by_frames = [units.of(Effort(frames), card) for frames in (1, 2, 4)]
    assert by_frames == sorted(set(by_frames)) and 0 < by_frames[0] < 1
    assert units.of(Effort(), card) == 1
    assert units.of(Effort(99), card) == 1  # no card looks at more than it can
    assert units.of(Effort(segments=8), card) == 8
    assert units.rate(card) > 0


def test_a_larger_card_is_faster() -> None:
    at_t4s_frames = [Units("vicuna-7b").rate(card) for card in GPU_CLASSES]
    assert at_t4s_frames[-1] == max(at_t4s_frames)


@pytest.mark.parametrize(
    ("wanted", "segments"),
    [(None, 1), ("auto", 4), ("8", 8), ("30s", 8), ("0s", 300), ("9999", 300), ("9000s", 1)],
)
def test_segments_before_a_video_was_seen(wanted: str | None, segments: float) -> None:
    assert segments_of(wanted) == segments
    sampling = Sampling(frames=4, segments=wanted)
    recipe = Recipe(prompt="?", sampling=sampling, model="m", revision="r")
    assert Effort.of(recipe) == Effort(4, segments)
