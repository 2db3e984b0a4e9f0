"""What `jamak data validate` finds in the rows of a training set, and what it counts of them."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from shared.errors import BadData, Reject
from shared.messages import Decoding
from shared.prompts import BASE_PROMPT
from shared.rows import Row, Stage
from tests.tokenizers import TOKENIZERS
from workers.data.findings import Finding
from workers.data.lengths import (
    Words,
    beyond_training,
    check_classes,
    classes_for,
    lengths_of,
)
from workers.data.media import Media, Seen
from workers.data.media_checks import check_media
from workers.data.reading import read_all
from workers.data.spread import Spread
from workers.data.text_checks import check_held_out, check_texts, split_rows
from workers.model.geometry import Geometry
from workers.train.row_limits import foreign, too_long

MODEL = Path(__file__).parents[2] / "infra/demo/models/llama"


def row(name: str, **fields: Any) -> Row:
    given = {"id": name, "videos": [{"uri": f"{name}.mp4"}], "prompt": BASE_PROMPT, **fields}
    if "chosen" not in given:
        given.setdefault("completion", "고양이가 잡니다.")
    return Row.model_validate(given)


def part(name: str, uri: str, start: float, end: float | None = None, **fields: Any) -> Row:
    return row(name, videos=[{"uri": uri, "start": start, "end": end}], **fields)


def by_kind(findings: list[Finding]) -> dict[str, list[str]]:
    """Kind -> the rows that it names."""
    return {one.kind: [told.place for told in one.told] for one in findings}


def texts(stage: Stage, *rows: Row) -> dict[str, list[str]]:
    return by_kind(list(check_texts(rows, stage)))


# Reading


def test_every_line_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        json.dumps({"id": "a", "videos": [{"uri": "a.mp4"}], "completion": "가"}),
        "{",
        json.dumps({"id": "b", "videos": [{"uri": "b.mp4"}], "caption": "나"}),
        "",
        json.dumps({"id": "a", "videos": [{"uri": "c.mp4"}], "completion": "다"}),
        json.dumps({"id": "d", "videos": [{"uri": "d.mp4"}], "completion": "</s>"}),
    ]
    reading = read_all("\n".join(lines).encode(), "m.jsonl", "sft", BASE_PROMPT)
    assert [one.id for one in reading.rows] == ["a"]
    assert [place for place, _ in reading.faults] == ["line 2", "line 3", "line 5", "line 6"]
    assert all(str(error).startswith(place) for place, error in reading.faults)
    with monkeypatch.context() as patch:
        patch.setattr("workers.data.reading.MOST_ROWS", 4)
        many = read_all("\n".join(lines).encode(), "m.jsonl", "sft", BASE_PROMPT).faults
    assert "more than" in str(many[-1][1])
    (nothing,) = read_all(b"\n", "m.jsonl", "sft", BASE_PROMPT).faults
    assert "holds no rows" in str(nothing[1])


def test_decomposed_text_is_composed_and_told() -> None:
    text = "고양이가 창가에 있습니다."
    apart = unicodedata.normalize("NFD", text)
    lines = [
        json.dumps({"id": name, "videos": [{"uri": "a.mp4"}], "completion": said}, ensure_ascii=at)
        for name, said, at in (("a", text, True), ("b", apart, True), ("c", apart, False))
    ]
    reading = read_all("\n".join(lines).encode(), "m.jsonl", None, BASE_PROMPT)
    assert {one.completion for one in reading.rows} == {text}
    assert reading.decomposed == ["b", "c"]


@pytest.mark.parametrize(
    ("columns", "stage"),
    [
        ({"completion": "가"}, "sft"),
        ({"completion": "가", "label": False}, "kto"),
        ({"completion": "가", "label": None}, "sft"),
        ({"chosen": "가", "rejected": "나", "completion": None}, "dpo"),
    ],
)
def test_the_columns_tell_the_stage(columns: dict[str, Any], stage: str) -> None:
    lines = f"no row\n{json.dumps({'id': 'a', **columns})}"
    assert read_all(lines.encode(), "m.jsonl", None, BASE_PROMPT).stage == stage


# Texts and splits


def test_what_is_said_twice_of_one_medium_is_told() -> None:
    a, b = row("a"), row("b", videos=[{"uri": "a.mp4"}])
    other = part("c", "a.mp4", 2)
    assert texts("sft", a, b, other) == {"repeated": ["b"]}


def test_texts_with_little_korean_are_told() -> None:
    rows = (
        row("en", completion="A cat sleeps"),
        row("ko"),
        row("mixed", completion="NIKE 운동화를 신은"),
    )
    assert texts("sft", *rows) == {"little_korean": ["en"]}
    thumb = row("down", completion="A cat", label=False)
    assert "little_korean" not in texts("kto", thumb, row("up", label=True))


def test_thumbs_that_teach_nothing_are_told() -> None:
    up, down = row("up", label=True), row("down", videos=[{"uri": "up.mp4"}], label=False)
    assert texts("kto", up, down) == {"contradiction": ["up", "down"]}
    liked = [row(f"{i}", label=True) for i in range(10)]
    assert texts("kto", *liked) == {"one_sided": []}
    assert texts("kto", *liked[:9], row("x", label=False)) == {}


def test_every_row_that_leaks_into_training_is_told() -> None:
    rows = [
        row("a", split="eval"),
        part("b", "a.mp4", 1),
        part("c", "a.mp4", 2, split="train"),
        row("d"),
    ]
    kept, findings = split_rows(rows)
    assert by_kind(findings) == {"leak": ["b", "c"]}
    assert findings[0].level == "error"
    assert kept == rows
    split, none = split_rows([row("a", split="eval"), row("b")])
    assert ([one.split for one in split], none) == (["eval", "train"], [])
    assert [one.kind for one in check_held_out(split)] == ["few_held_out"]
    many, _ = split_rows([row(f"{i}", split="eval" if i else None) for i in range(9)])
    assert list(check_held_out(many)) == []
    assert by_kind(split_rows([row("a", split="eval")])[1]) == {"split": [""]}


# Media


def seen(**seconds: float) -> dict[str, Seen]:
    return {f"{name}.mp4": Seen(1, length, 96, 64, "h264") for name, length in seconds.items()}


def test_media_that_cannot_be_used_are_listed_by_row_and_reason() -> None:
    rows = [part("a", "v.mp4", 0, 3), part("b", "v.mp4", 9), row("gone")]
    media = Media(
        seen=seen(v=4.0),
        unreadable={
            rows[1].media.key: BadData("the part begins at 9 s"),
            "gone.mp4": Reject("there is no such file", cure="Look for it."),
        },
    )
    (found,) = check_media(rows, media)
    assert found.level == "error"
    assert [(one.place, one.what) for one in found.told] == [
        ("b", "the part begins at 9 s"),
        ("gone", "there is no such file"),
    ]
    assert found.dump()["rows"][1]["cure"] == "Look for it."


def test_a_video_of_one_frame_has_no_other_order() -> None:
    pair = {"chosen": "가", "rejected": "가", "rejected_frames": "reversed"}
    rows = [row("one", **pair), row("two", **pair), row("plain")]
    media = Media(frames={"one.mp4": 1, "two.mp4": 2, "plain.mp4": 1})
    assert by_kind(list(check_media(rows, media))) == {"no_order": ["one"]}


def test_a_part_that_ends_after_its_video_is_told() -> None:
    rows = [part("late", "v.mp4", 1, 9), part("rounded", "v.mp4", 1, 4.5), part("in", "v.mp4", 1)]
    assert by_kind(list(check_media(rows, Media(seen=seen(v=4.0))))) == {"late_part": ["late"]}


def test_the_same_bytes_on_both_sides_are_a_leak() -> None:
    rows, _ = split_rows([row("a", split="eval"), row("b"), row("c"), row("d")])
    media = Media(contents={"a.mp4": "1", "b.mp4": "2", "c.mp4": "1", "d.mp4": "2"})
    found = list(check_media(rows, media))
    assert by_kind(found) == {"leak": ["a", "c"], "same_bytes": ["b", "d"]}
    assert [one.level for one in found] == ["error", "warning"]


# Lengths


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(TOKENIZERS["llama"](), Geometry.read(MODEL))


def test_texts_that_a_caption_could_not_hold_are_all_told(words: Words) -> None:
    long = "뚫렸 " * 40
    rows = [
        row("ok"),
        row("long", completion=long),
        row("pair", chosen="가", rejected=long),
        row("down", completion=long, label=False),
        row("also", completion=long),
        row("漢", completion="漢 배경"),
    ]
    cut = list(too_long(rows, words.tokenizer, Decoding(max_new_tokens=20)))
    assert [one.id for one, _ in cut] == ["long", "also"]
    assert "row 'long' has 80 syllables in" in str(cut[0][1])
    assert [one.id for one, _ in foreign(rows, Decoding(language="ko"))] == ["漢"]
    assert list(foreign(rows, Decoding())) == []


def test_rows_are_counted_against_the_models_context_with_the_frames_they_have(
    words: Words,
) -> None:
    each = words.geometry.tokens_per_frame(words.geometry.pool_stride)
    short, long = row("short"), row("long")
    lengths, wrong = lengths_of([short, long], words)
    assert wrong == []
    text = lengths["long"].prompt + lengths["long"].text
    most = (words.geometry.context - text) // each
    fits = beyond_training([short, long], lengths, {"long.mp4": most}, 1, words)
    assert list(fits) == []
    over = list(beyond_training([short, long], lengths, {"long.mp4": most + 1}, 1, words))
    assert [one.id for one, _ in over] == ["long"]


def test_rows_are_counted_against_each_card_class(words: Words) -> None:
    """A prompt may be too long for what a worker keeps for a caption."""
    rows = [row("a"), row("wordy", prompt=BASE_PROMPT.replace("<video>", "<video>" + "뚫 " * 400))]
    lengths, _ = lengths_of(rows, words)
    classes = classes_for(lengths, words, Decoding(max_new_tokens=20))
    assert [one.card for one in classes] == ["t4", "l4", "a100", "h100", "cpu"]
    assert [one.beyond for one in classes] == [("wordy",)] * 5
    assert len(list(check_classes(classes))) == 5
    assert classes[3].dump()["needs"] > classes[0].dump()["needs"]
    alone = classes_for({"a": lengths["a"]}, words, Decoding(max_new_tokens=20))
    assert list(check_classes(alone)) == []


def test_a_prompt_that_this_model_reads_otherwise_is_told(words: Words) -> None:
    mark = next(one for one in words.tokenizer.all_special_tokens if one not in BASE_PROMPT)
    _, wrong = lengths_of([row("a", prompt=BASE_PROMPT.replace("영상", f"영상{mark}"))], words)
    assert [one.id for one, _ in wrong] == ["a"]


def test_a_spread_is_of_what_is_there() -> None:
    spread = Spread.of(range(1, 101))
    assert spread is not None
    assert (spread.least, spread.median, spread.p95, spread.most) == (1, 50.5, 95, 100)
    assert Spread.of([]) is None
