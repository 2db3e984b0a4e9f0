"""Training manifests: what is read, what is refused and how clearly, and who is held out."""

import json
import math
import re
import unicodedata
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from shared.errors import BadData
from shared.messages import Decoding
from shared.prompts import BASE_PROMPT, DETAILED_PROMPT
from shared.rows import COLUMNS, MediaRef, Row, Stage
from tests.tokenizers import TOKENIZERS
from workers.train import data, manifest
from workers.train.collate import Encoder
from workers.train.data import note_skipped, read_rows, with_splits
from workers.train.evaluate import score
from workers.train.sayable import check_sayable
from workers.train.unfit import without_unfit


def _row(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"id": name, "videos": [{"uri": f"{name}.mp4"}], "completion": "고양이", **fields}


def _lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def _rows(count: int, **fields: Any) -> list[Row]:
    return [
        Row(id=str(i), videos=(MediaRef(uri=f"{i}.mp4"),), completion="고양이", **fields)
        for i in range(count)
    ]


def test_a_row_without_a_prompt_gets_the_jobs() -> None:
    rows = read_rows(_lines(_row("a"), _row("b", prompt=DETAILED_PROMPT)), "sft", BASE_PROMPT)
    assert [row.prompt for row in rows] == [BASE_PROMPT, DETAILED_PROMPT]
    assert rows[0].media.uri == "a.mp4"


def test_empty_lines_are_nothing() -> None:
    assert len(read_rows(f"\n{_lines(_row())}\n\n", "sft", BASE_PROMPT)) == 1


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("{", "line 2 is not JSON"),
        (_lines(_row("b", videos=[])), "line 2: videos"),
        (_lines(_row("b", videos=[{"uri": "1"}, {"uri": "2"}])), "line 2: videos"),
        (_lines(_row("b", images=[{"uri": "b.png"}])), "line 2: videos or images: a row has"),
        (
            _lines(_row("b", videos=None, images=[{"uri": "b.png", "end": 1}])),
            "line 2: images.0: an image has no start",
        ),
        (
            _lines(_row("b", videos=[{"uri": "b.mp4", "start": 4, "end": 4.0}])),
            "line 2: videos.0: the part ends at 4.0 s, not after its start at 4.0 s",
        ),
        (
            _lines(_row("b", videos=[{"uri": "b.mp4", "start": "0:16"}])),
            "line 2: videos.0.start: Input should be a valid number",
        ),
        (
            _lines(_row("b", videos=[{"uri": "b.mp4", "end": math.inf}])),
            "line 2: videos.0.end: Input should be a finite number",
        ),
        (_lines(_row("b", videos=[{"uri": "b.mp4", "start": -1}])), "line 2: videos.0.start"),
        (_lines(_row("b", label=True)), "line 2: a 'label' in a row for"),
        (
            _lines(_row("b", videos=[{"uri": "b.mp4", "sha256": "short"}])),
            "line 2: videos.0.sha256",
        ),
        (_lines(_row("b", promt="x")), "line 2: promt: Extra inputs"),
        (_lines(_row("b", completion=" ")), "line 2: completion"),
        (_lines(_row("b", split="test")), "line 2: split"),
        (_lines(_row("b", prompt="no video ASSISTANT:")), "line 2: the prompt holds <video> 0"),
        (_lines(_row("b", chosen="a", rejected="b")), "line 2: a 'chosen' in a row for"),
        (_lines(_row("a")), "line 2: the id 'a' is that of line 1 too"),
        (_lines(_row("b", completion="고양\ufffd이")), "line 2: its text holds U+FFFD"),
        (_lines(_row("b", completion="고양\x1b이")), "line 2: its text holds U+001B"),
        (_lines(_row("b", completion="ᄀ고양이")), "line 2: its text holds U+1100"),
        (_lines(_row("b", completion="고양이</s> 개")), "line 2: its text holds </s>"),
        (_lines(_row("b", completion="고양이<<video>video>")), "line 2: its text holds <video>"),
        (_lines(_row("b", completion="<think>개</think>")), "line 2: its text holds <think>"),
        (
            _lines(_row("b", prompt=f"<|im_start|>{BASE_PROMPT}")),
            "line 2: the prompt holds <|im_start|>",
        ),
    ],
)
def test_a_faulty_line_is_named(second: str, said: str) -> None:
    with pytest.raises(BadData, match=re.escape(said)) as caught:
        read_rows(f"{_lines(_row('a'))}\n{second}", "sft", BASE_PROMPT)
    assert caught.value.cure


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        (json.dumps({"id": "a", "videos": [{"uri": "a.mp4"}], "complet": "개"}), "Call it comp"),
        (json.dumps({"id": "a", "videos": [{"uri": "a.mp4"}], "xyz": "개"}), "Remove it: no row"),
        (json.dumps({"id": "a", "videos": [{"uri": "a.mp4", "start": "0:01"}]}), "Write seconds"),
        ("[1, 2]", "Write one JSON object a line"),
    ],
)
def test_a_faulty_line_has_a_cure_of_its_own(line: str, cure: str) -> None:
    with pytest.raises(BadData) as caught:
        read_rows(line, "sft", BASE_PROMPT)
    assert caught.value.cure.startswith(cure)


def test_a_preference_row_has_both_captions() -> None:
    row = {"id": "a", "videos": [{"uri": "a.mp4"}], "chosen": "고양이"}
    with pytest.raises(BadData, match="line 1: no 'rejected'"):
        read_rows(_lines(row), "dpo", BASE_PROMPT)
    (read,) = read_rows(_lines({**row, "rejected": "개"}), "dpo", BASE_PROMPT)
    assert read.reference == "고양이"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rejected": "고양이"}, "chosen and rejected are the same text"),
        ({"rejected": "개", "rejected_frames": "upside down"}, "rejected_frames: Input should"),
        ({"rejected_frames": "reversed"}, "rejected_frames: only a rejected text"),
        (
            {
                "rejected": "고양이",
                "rejected_frames": "reversed",
                "videos": None,
                "images": [{"uri": "a.png"}],
            },
            "rejected_frames: only a rejected text",
        ),
    ],
)
def test_a_preference_row_has_something_to_prefer_by(more: dict[str, Any], said: str) -> None:
    row = {"id": "a", "videos": [{"uri": "a.mp4"}], "chosen": "고양이"}
    with pytest.raises(BadData, match=said):
        read_rows(_lines({**row, **more}), "dpo", BASE_PROMPT)


def test_the_same_text_may_be_rejected_before_other_frames() -> None:
    row = {"id": "a", "videos": [{"uri": "a.mp4"}], "chosen": "고양이", "rejected": "고양이"}
    (read,) = read_rows(_lines({**row, "rejected_frames": "shuffled"}), "dpo", BASE_PROMPT)
    assert read.rejected_frames == "shuffled"


@pytest.mark.parametrize("stage", get_args(Stage))
def test_a_row_teaches_what_its_stage_asks_for(stage: Stage) -> None:
    values = {"completion": "고양이", "chosen": "고양이", "rejected": "개", "label": False}
    needed = {column: values[column] for column in COLUMNS[stage]}
    blank = dict.fromkeys(values)
    (row,) = read_rows(_lines(_row(**{**blank, **needed})), stage, BASE_PROMPT)
    assert row.model_dump(include={*values}, exclude_none=True) == needed
    for column in needed:
        with pytest.raises(BadData, match=f"line 1: no {column!r} in a row for"):
            read_rows(_lines(_row(**{**blank, **needed, column: None})), stage, BASE_PROMPT)


def test_a_thumb_is_true_or_false_and_nothing_like_it() -> None:
    for label in ("true", "false", 1, 0):
        with pytest.raises(BadData, match="line 1: label: Input should be a valid boolean"):
            read_rows(_lines(_row(label=label)), "kto", BASE_PROMPT)


def test_a_row_has_a_video_a_part_of_one_or_an_image() -> None:
    whole, part, first, image = read_rows(
        _lines(
            _row("a"),
            _row("b", videos=[{"uri": "a.mp4", "start": 1, "end": 2.5}]),
            _row("c", videos=[{"uri": "a.mp4", "start": 0, "end": 1}], images=None),
            _row("d", videos=[], images=[{"uri": "d.png"}]),
        ),
        "sft",
        BASE_PROMPT,
    )
    assert (image.media.uri, image.media.whole) == ("d.png", True)
    assert [row.media.identity for row in (whole, part, first)] == ["a.mp4"] * 3
    assert len({row.media.key for row in (whole, part, first)}) == 3
    assert part.media.key == "a.mp4#t=1.0,2.5"
    moved = [row.with_media(uri="x").media for row in (part, image)]
    assert [(media.uri, media.end) for media in moved] == [("x", 2.5), ("x", None)]


def test_a_digest_in_one_row_is_that_of_the_video_in_all() -> None:
    """Else the one video would be two, and train and evaluate."""
    digest = "a" * 64
    named = _row("a", videos=[{"uri": "v.mp4", "sha256": digest}], split="train")
    other = _row("b", videos=[{"uri": "v.mp4"}], split="eval")
    rows = read_rows(_lines(other, named), "sft", BASE_PROMPT)
    assert [row.media.identity for row in rows] == [digest, digest]
    with pytest.raises(BadData, match="row 'a' trains on"):
        with_splits(rows)
    other["videos"][0]["sha256"] = "b" * 64
    with pytest.raises(BadData, match=r"row 'a': the sha256 of v\.mp4 is another one in row 'b'"):
        read_rows(_lines(other, named), "sft", BASE_PROMPT)


def test_a_text_counts_in_whatever_form_it_was_written() -> None:
    """macOS writes NFD: it looks the same, has other tokens and compares as different."""
    told, prompt = (unicodedata.normalize("NFD", one) for one in ("고양이\r\n개", BASE_PROMPT))
    (row,) = read_rows(_lines(_row(completion=told, prompt=prompt)), "sft", BASE_PROMPT)
    assert (row.reference, row.prompt) == ("고양이\n개", BASE_PROMPT)
    scores = score(["고양이\n개"], [row])
    assert (scores.exact, scores.chrf) == (1.0, pytest.approx(100))


TOKENIZERS_OF_KINDS = {name: make() for name, make in TOKENIZERS.items()}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_row_that_this_model_could_never_say_is_named(kind: str) -> None:
    tokenizer = TOKENIZERS_OF_KINDS[kind]
    said = "“빨간 원”이 24㎝쯤  움직입니다…\n\t뷁! 👩\u200d👧"
    good = Row(id="good", videos=(MediaRef(uri="a.mp4"),), completion=said)
    check_sayable(tokenizer, [good])
    mark = tokenizer.all_special_tokens[0]
    bad = good.model_copy(update={"id": "bad", "completion": f"원 {mark}이"})
    with pytest.raises(BadData, match=f"row 'bad': this model reads {mark} as a token") as caught:
        check_sayable(tokenizer, [good, bad])
    assert caught.value.cure


def test_a_row_whose_text_comes_back_otherwise_is_named() -> None:
    tokenizer = TOKENIZERS_OF_KINDS["byte fallback"]  # its mark for a space is a character
    row = Row(id="r", videos=(MediaRef(uri="a.mp4"),), chosen="막대 ▁그래프", rejected="개")
    said = re.escape("row 'r': this model could not say '▁그래프', only ' 그래프'")
    with pytest.raises(BadData, match=said):
        check_sayable(tokenizer, [row])


def test_a_prompt_with_a_token_of_the_model_is_a_fault_of_its_row() -> None:
    tokenizer = TOKENIZERS["byte fallback"]()
    tokenizer.add_tokens(["<tool_call>"], special_tokens=False)  # as that of Qwen3 has it
    loaded = SimpleNamespace(
        tokenizer=tokenizer, layout=SimpleNamespace(expand=lambda ids, videos: ids), context=512
    )
    encoder: Any = Encoder(loaded, SimpleNamespace(frames=lambda key: 2))  # type: ignore[arg-type]
    marked = BASE_PROMPT.replace("ASSISTANT", "<tool_call> ASSISTANT")
    rows = read_rows(_lines(_row("a"), _row("b", prompt=marked)), "sft", BASE_PROMPT)
    with pytest.raises(BadData, match=r"row 'b': .*<tool_call>"):
        encoder.check_lengths(rows)
    fit, (note,) = without_unfit(rows, encoder, Decoding(), {}, note_skipped)
    assert ([row.id for row in fit], "row 'b'" in note) == (["a"], True)


def test_a_rejected_text_longer_than_any_caption_is_left_out_where_the_job_says_so() -> None:
    loaded = SimpleNamespace(
        tokenizer=TOKENIZERS_OF_KINDS["byte fallback"],
        layout=SimpleNamespace(expand=lambda ids, videos: ids),
        context=4096,
    )
    encoder: Any = Encoder(loaded, SimpleNamespace(frames=lambda key: 2))  # type: ignore[arg-type]
    pairs = [
        {"id": name, "videos": [{"uri": f"{name}.mp4"}], "chosen": "고양이", "rejected": text}
        for name, text in (("a", "개"), ("b", "words " * 200))
    ]
    rows = read_rows(_lines(*pairs), "dpo", BASE_PROMPT)
    short = Decoding(max_new_tokens=96)
    assert without_unfit(rows, encoder, short, {}, note_skipped) == (rows, ())
    fit, (note,) = without_unfit(rows, encoder, short, {}, note_skipped, unsaid=True)
    assert ([row.id for row in fit], "row 'b' has 0 syllables" in note) == (["a"], True)


def test_an_sft_row_is_no_preference() -> None:
    with pytest.raises(BadData, match="line 1: a 'completion' in a row for the stage 'dpo'"):
        read_rows(_lines(_row()), "dpo", BASE_PROMPT)


def test_an_empty_manifest_is_refused() -> None:
    with pytest.raises(BadData, match="no rows"):
        read_rows("\n", "sft", BASE_PROMPT)


def test_the_manifests_own_split_is_kept() -> None:
    rows = [*_rows(3), *[row.model_copy(update={"id": "e"}) for row in _rows(1, split="eval")]]
    rows[-1] = rows[-1].model_copy(update={"videos": (MediaRef(uri="e.mp4"),)})
    assert [row.split for row in with_splits(rows)] == ["train", "train", "train", "eval"]


def test_about_a_tenth_of_the_videos_is_held_out_and_stays_held_out() -> None:
    """Also when other videos, and other captions of the same ones, come in."""
    other_captions = [row.model_copy(update={"id": f"{row.id}/2"}) for row in _rows(500)]
    few, many = with_splits(_rows(500)), with_splits([*_rows(1000), *other_captions])
    held_first = {row.media.uri for row in few if row.split == "eval"}
    held = {row.media.uri for row in many if row.split == "eval"}
    assert 60 < len(held) < 140
    assert held_first == held & {row.media.uri for row in few}


def test_at_least_one_video_is_held_out() -> None:
    for count in range(2, 12):
        splits = [row.split for row in with_splits(_rows(count))]
        assert "eval" in splits
        assert "train" in splits


def test_all_rows_of_a_video_are_on_one_side() -> None:
    rows = [
        row.model_copy(update={"id": f"{row.id}/{caption}"})
        for row in _rows(40)
        for caption in range(3)
    ]
    sides: dict[str, set[str | None]] = {}
    for row in with_splits(rows):
        sides.setdefault(row.media.uri, set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())


def test_a_video_on_both_sides_is_refused_also_under_two_names() -> None:
    digest = "a" * 64
    rows = [
        Row(
            id=split,
            videos=(MediaRef(uri=f"{split}.mp4", sha256=digest),),
            completion="고양이",
            split=split,
        )
        for split in ("train", "eval")
    ]
    with pytest.raises(BadData, match=r"row 'train' trains on train\.mp4"):
        with_splits(rows)


def test_a_manifest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _lines(_row("a"), _row("b"))
    with pytest.raises(BadData, match="line 1 is not JSON"):
        read_rows("[" * 100_000, "sft", BASE_PROMPT)
    monkeypatch.setattr(data, "MOST_ROWS", 2)
    assert len(read_rows(text, "sft", BASE_PROMPT)) == 2
    with pytest.raises(BadData, match="more than 2 rows"):
        read_rows(f"{text}\n{_lines(_row('c'))}", "sft", BASE_PROMPT)
    monkeypatch.setattr(manifest, "MOST_LINE", 50)
    with pytest.raises(BadData, match=r"line 1 has \d+ characters; it may have 50"):
        read_rows(text, "sft", BASE_PROMPT)


@pytest.mark.parametrize("label", [True, False])
def test_thumbs_of_one_kind_alone_teach_nothing(label: bool) -> None:
    rows = _rows(3, label=label)
    rows[0] = rows[0].model_copy(update={"split": "eval", "label": not label})
    with pytest.raises(BadData, match=f"all 2 captions to train on have the label {label}".lower()):
        with_splits(rows)
    rows[1] = rows[1].model_copy(update={"label": not label})
    assert len(with_splits(rows)) == 3


def test_one_video_is_not_enough() -> None:
    with pytest.raises(BadData, match="nothing is left to train on"):
        with_splits(_rows(1))
