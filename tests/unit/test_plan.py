"""What a card does with a model: every plan holds, and what does not hold is refused with one that
does. And `jamak plan` and its page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cards import CLASSES, GPU_CLASSES, CardClass
from shared.errors import ConfigError, DoesNotFit
from shared.settings import CardName
from tests.terminal import jamak_here
from workers.caption.budget import nearest, plan_card
from workers.caption.card_plan import BLOCK, MOST_ROWS, Asked, CardPlan, Figure
from workers.caption.machines import GIB, Machine, machine_of
from workers.model.geometry import KNOWN, Geometry, context_of
from workers.plan_page import cards_markdown

ROOT = Path(__file__).parents[2]
VICUNA, YI, QWEN = KNOWN["vicuna-7b"], KNOWN["yi-34b"], KNOWN["qwen3-8b"]


def plan(card: CardName, geometry: Geometry = VICUNA, **asked: int) -> CardPlan:
    return plan_card(CLASSES[card], machine_of(CLASSES[card]), geometry, Asked(**asked))


def test_the_page_is_what_the_code_says() -> None:
    page = (ROOT / "docs" / "cards.md").read_text()
    assert page == cards_markdown(), "run: python -m workers.plan_page > docs/cards.md"


@pytest.mark.parametrize(
    ("geometry", "weights", "kv_kib"),
    # Counted on the models themselves, built on torch's `meta` device: LLaVA with Vicuna-7B has
    # 7.063 billion weights, with Qwen3-8B 8.515.
    [(VICUNA, 7.063e9, 512), (QWEN, 8.515e9, 144), (YI, 34.75e9, 240)],
)
def test_sizes_are_the_models(geometry: Geometry, weights: float, kv_kib: int) -> None:
    counted = geometry.language_weights + geometry.other_weights
    assert counted == pytest.approx(weights, rel=1e-3)
    assert geometry.kv_values * 2 == kv_kib * 1024
    assert geometry.tokens_per_frame(2) == 144
    assert geometry.tokens_per_frame(3) == 64


def test_a_class_keeps_its_frames_and_its_tokens() -> None:
    for name in GPU_CLASSES:
        made = plan(name, QWEN)
        assert made.frames.value == CLASSES[name].frames
        assert made.visual_tokens.value == CLASSES[name].visual_tokens
        assert plan(name, QWEN, pool_stride=3).visual_tokens.value == CLASSES[name].frames * 64
    dear = replace(QWEN, pool_stride=1)
    assert plan("l4", dear).frames == Figure(2, "l4 allows 1152 visual tokens")


def test_fewer_frames_where_the_model_has_fewer_positions_unless_it_carries_rope_scaling() -> None:
    made = plan("h100")
    assert made.frames == Figure(26, "the model has 4096 positions")
    assert made.positions.value == 4096
    assert plan("h100", pool_stride=3).frames.value == 32
    assert plan("h100", replace(VICUNA, context=8192)).frames.value == 32


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ({"rope_scaling": None}, (4096, "default")),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, (8192, "linear")),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, (8192, "yarn")),
        # Where the converter of the published 7B checkpoints puts them they are without effect.
        ({"factor": 2.0, "type": "linear"}, (4096, "default")),
    ],
)
def test_positions_are_read_from_either_form(
    text: dict[str, object], found: tuple[int, str]
) -> None:
    assert context_of({"max_position_embeddings": 4096, **text}) == found


def test_a_scaling_that_looks_at_neighbours_is_refused() -> None:
    with pytest.raises(DoesNotFit, match="'dynamic'") as refused:
        plan("l4", replace(VICUNA, rope="dynamic"))
    assert "config.json" in refused.value.cure


def test_weights_that_exceed_the_card_are_refused_with_what_would_hold() -> None:
    with pytest.raises(DoesNotFit, match=r"18\.47 GiB of weights do not fit t4") as refused:
        plan("t4", YI)
    assert refused.value.cure == "A card of class l4 holds it."
    with pytest.raises(DoesNotFit, match=r"64\.73 GiB of weights do not fit a100") as refused:
        plan("a100", YI)
    assert refused.value.cure.startswith("JAMAK_CARD=l4 fits this card: 8 frames")
    with pytest.raises(DoesNotFit) as refused:
        plan("t4", replace(YI, layers=600))
    assert refused.value.cure == "No class holds it: choose a smaller model."


def test_memory_forces_3x3_pooling_before_it_refuses() -> None:
    card = CLASSES["h100"]
    tried = []
    for mib in range(24 * 1024, 16 * 1024, -64):
        machine = replace(machine_of(card), memory=mib * 2**20)
        try:
            tried.append(plan_card(card, machine, VICUNA, Asked()))
        except DoesNotFit:
            break
    assert [made.pool_stride for made in tried] == sorted(made.pool_stride for made in tried)
    forced = tried[-1]
    assert forced.pool_stride == 3
    assert forced.visual_tokens.why == "64 a frame: memory forces 3x3 pooling"
    with pytest.raises(DoesNotFit, match="leave no room in h100") as refused:
        plan_card(card, forced.machine, VICUNA, Asked(pool_stride=2))
    assert "JAMAK_CARD" in refused.value.cure


MODELS = st.builds(
    lambda known, layers, heads, vocabulary, context: replace(
        known, layers=layers, kv_heads=heads, vocabulary=vocabulary, context=context
    ),
    st.sampled_from(list(KNOWN.values())),
    st.integers(1, 100),
    st.sampled_from([1, 2, 8, 32, 64]),
    st.sampled_from([647, 32064, 256_000]),
    st.sampled_from([512, 1024, 4096, 8192, 131_072]),
)
ASKED = st.builds(
    Asked,
    prompt_tokens=st.integers(1, 3000),
    new_tokens=st.integers(1, 3000),
    pool_stride=st.sampled_from([None, 2, 3]),
)


@given(
    card=st.sampled_from(list(CLASSES.values())),
    gib=st.floats(2, 200),
    geometry=MODELS,
    asked=ASKED,
)
def test_a_plan_holds_or_is_refused_with_one_that_does(
    card: CardClass, gib: float, geometry: Geometry, asked: Asked
) -> None:
    machine = machine_of(card, memory=int(gib * GIB))
    try:
        made = plan_card(card, machine, geometry, asked)
    except DoesNotFit as refused:
        assert refused.cure
        if "GiB" in str(refused):
            check_nearest(card, machine, geometry, asked)
        return
    visual = made.visual_tokens.value
    assert 1 <= made.frames.value <= card.frames
    assert visual == made.frames.value * geometry.tokens_per_frame(made.pool_stride)
    assert visual <= card.visual_tokens
    needed = visual + asked.prompt_tokens + asked.new_tokens
    assert needed <= made.positions.value <= geometry.context
    assert made.positions.value % BLOCK == 0 or made.positions.value == geometry.context
    assert made.pool_stride in (asked.pool_stride or geometry.pool_stride, 3)
    assert 1 <= made.rows.value <= MOST_ROWS
    assert made.at_once > made.rows.value
    if machine.memory is not None:
        held = made.weight_bytes.value + made.rows.value * made.row_bytes
        assert held < machine.usable < machine.memory
        assert (made.seconds.value or 0) > 0
    assert all(figure.why for figure in vars(made).values() if isinstance(figure, Figure))


def check_nearest(card: CardClass, machine: Machine, geometry: Geometry, asked: Asked) -> None:
    """What is named can be planned; where nothing is, no card of a class holds it."""
    named = nearest(card, machine, geometry, asked)
    if named.card is not None and named.machine is not None:
        assert plan_card(named.card, named.machine, geometry, named.asked).rows.value > 0
        return
    for name in GPU_CLASSES[GPU_CLASSES.index(card.name) :]:
        with pytest.raises(DoesNotFit):
            plan_card(CLASSES[name], machine_of(CLASSES[name]), geometry, asked)


@given(free=st.integers(0, 100 * GIB))
def test_a_worker_takes_the_rows_that_fit_what_was_measured(free: int) -> None:
    made = plan("l4")
    try:
        taken = made.within(free)
    except DoesNotFit as refused:
        assert free < made.row_bytes + made.adapter_bytes
        assert "warm-up" in str(refused)
        return
    assert 1 <= taken.rows.value <= made.rows.value
    assert taken.rows.value * taken.row_bytes + taken.adapter_bytes <= free
    assert (taken.rows.value + 1) * taken.row_bytes + taken.adapter_bytes > free or (
        taken.rows == made.rows
    )


def test_more_memory_never_makes_a_plan_smaller() -> None:
    card, rows = CLASSES["l4"], 0
    for gib in range(10, 60):
        machine = replace(machine_of(card), memory=gib * GIB)
        more = plan_card(card, machine, VICUNA, Asked(pool_stride=2)).rows.value
        assert more >= rows
        rows = more


def test_a_config_without_sizes_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text_config": {}}')
    with pytest.raises(ConfigError, match="how large the model is: 'vision_config'"):
        Geometry.read(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        Geometry.read(tmp_path)


# The verb


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("JAMAK_MODEL", "JAMAK_MODEL_PATH", "JAMAK_MAX_NEW_TOKENS", "JAMAK_LANG"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_every_class_is_shown_and_why_one_is_not(plain: pytest.MonkeyPatch) -> None:
    said = jamak_here(plain, "plan", "--model", "yi-34b")
    assert said.code == 0
    rows = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert {*CLASSES} <= {name.rstrip(":") for name in rows}
    assert "A card of class l4 holds it." in said.out


def test_one_class_tells_its_reasons(plain: pytest.MonkeyPatch) -> None:
    said = jamak_here(plain, "plan", "--card", "t4", "--pool", "3")
    assert "64 a frame: 3x3 pooling was asked for" in said.out
    refused = jamak_here(plain, "plan", "--card", "t4", "--model", "yi-34b", "--json")
    assert (refused.code, json.loads(refused.out)["error"]["reason"]) == (1, "does_not_fit")


def test_programs_get_all_of_it(plain: pytest.MonkeyPatch) -> None:
    model = str(ROOT / "infra" / "demo" / "models" / "qwen3")
    said = jamak_here(plain, "plan", "--model", model, "--json")
    classes = {one["class"]: one for one in json.loads(said.out)["classes"]}
    assert list(classes) == list(CLASSES)
    assert classes["cpu"]["visual_tokens"] == 36
    assert classes["cpu"]["why"].keys() <= classes["cpu"].keys()


def test_a_model_that_nobody_knows_is_named(plain: pytest.MonkeyPatch) -> None:
    said = jamak_here(plain, "plan", "--model", "somebody/else")
    assert said.code == 2
    assert "vicuna-7b, yi-34b, qwen3-8b" in said.err
