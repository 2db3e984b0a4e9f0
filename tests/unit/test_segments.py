"""A long video in parts: where it is parted, and what its captions become."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.jobs.recipes import recipe_of
from shared.errors import ConfigError
from shared.messages import Recipe, Sampling
from shared.settings import Settings
from workers.caption.summary import summarise
from workers.video.segments import LONGEST_S, MOST, SHORTEST_S, part

WANTED = st.one_of(
    st.just("auto"), st.integers(1, 400).map(str), st.floats(0.1, 500).map(lambda s: f"{s:.2f}s")
)


@given(
    st.floats(0.05, 40_000),
    WANTED,
    st.lists(st.floats(0, 1), max_size=60),
)
def test_segments_have_no_gaps_and_cover_everything(
    duration_s: float, wanted: str, shares: list[float]
) -> None:
    changes = sorted(share * duration_s for share in shares)
    parts = part(duration_s, wanted, changes)
    assert parts[0][0] == 0.0
    assert parts[-1][1] == duration_s
    assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))
    assert all(start < end for start, end in parts)
    assert len(parts) <= MOST


def test_cuts_are_at_scene_changes_where_one_is_near() -> None:
    assert part(100, "4", [24.0, 55.0]) == [(0, 24.0), (24.0, 55.0), (55.0, 75), (75, 100)]
    assert part(100, "20s", []) == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100)]


def test_a_short_video_is_not_parted_into_nothing() -> None:
    assert part(0.0, "12", []) == [(0.0, 0.0)]
    assert len(part(0.25, "12", [])) == len(part(0.25, "0.01s", [])) == 2


def test_by_itself_it_cuts_at_the_last_change_that_fits() -> None:
    assert part(50, "auto", [5, 20, 40]) == [(0, 50)]
    assert part(100, "auto", [5, 20, 41, 95]) == [(0, 41), (41, 100)]
    found = part(1000, "auto", [])
    assert all(SHORTEST_S <= end - start <= LONGEST_S for start, end in found)


def test_more_than_fits_the_model_is_summed_up_in_halves() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return f"요약 {len(asked)}"

    texts = [f"장면 {number}" for number in range(8)]
    # As many as four lines fit.
    assert summarise(texts, lambda prompt: prompt.count("- ") <= 4, ask) == "요약 3"
    assert [prompt.count("- ") for prompt in asked] == [4, 4, 2]
    assert "장면 0" in asked[0]
    assert "요약 1" in asked[2]
    assert asked[0].endswith("ASSISTANT:")


def test_what_never_fits_is_not_halved_for_ever() -> None:
    assert summarise(["하나", "둘", "셋"], lambda prompt: False, lambda prompt: "요약") == "요약"


def test_a_quoted_marker_is_no_picture() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return ""

    summarise(["간판에 <video>라고 쓰여 있습니다."] * 2, lambda prompt: True, ask)
    assert "<video>" not in asked[0]


def test_a_recipe_without_segments_is_the_recipe_it_was() -> None:
    recipe = Recipe(prompt="p", model="m", revision="r")
    assert recipe.id == "221a8582b6a9"
    parted = recipe.model_copy(update={"sampling": Sampling(segments="auto")})
    assert parted.id != recipe.id


def test_segments_can_be_left_out_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_SEGMENTS", "auto")
    settings = Settings()
    assert recipe_of(settings).sampling.segments == "auto"
    assert recipe_of(settings, segments="none").sampling.segments is None


def test_what_is_no_segmentation_is_refused() -> None:
    settings = Settings()
    assert recipe_of(settings, segments="30s").sampling.segments == "30s"
    for nonsense in ("0", "-3", "s", "many"):
        with pytest.raises(ConfigError, match="segments"):
            recipe_of(settings, segments=nonsense)
