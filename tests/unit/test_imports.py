"""Data sets of others: each layout as it is published becomes rows; what cannot is told of."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.bucket.export import _jsonl
from shared.annotations.files import File, LeftOut, seconds, text_of
from shared.errors import BadData
from shared.messages import Caption, decode
from shared.prompts import BASE_PROMPT
from shared.rows import Row, Stage
from workers.data.imports.found import Asked
from workers.data.imports.names import NO_ADDRESS, NO_FILE, SEVERAL, Names
from workers.data.imports.take import KINDS, Form, Taken

LAYOUTS = Path(__file__).parents[1] / "layouts"


def _taken(
    form: Form,
    *files: File,
    stage: Stage = "sft",
    media: list[str] | None = None,
    question: str | None = None,
    **given: str,
) -> Taken:
    names = Names(None if media is None else [(name, f"clips/{name}") for name in media])
    taken = Taken(form, Asked(stage, question), names, BASE_PROMPT, given)
    for file in files:
        taken.take(file)
    return taken


def _file(name: str) -> File:
    return File(name, (LAYOUTS / name).read_bytes())


def _told(rows: list[Row]) -> list[dict[str, Any]]:
    return [row.model_dump(exclude_defaults=True, exclude={"id", "origin"}) for row in rows]


def test_aihub_is_a_row_for_each_thing_that_happens() -> None:
    taken = _taken(
        "aihub", _file("aihub-D2_AN_0531_000002.json"), media=["AN/D2_AN_0531_000002.mp4"]
    )
    uri = "clips/AN/D2_AN_0531_000002.mp4"
    assert _told(taken.rows) == [
        {"videos": ({"uri": uri, "end": 16.0},), "completion": "여자가 휴대폰으로 사진을 찍는다."},
        {"videos": ({"uri": uri, "start": 16.0},), "completion": "남자가 자전거를 끌고 간다."},
    ]
    assert taken.left_out == [LeftOut("aihub-D2_AN_0531_000002.json#3", "it has no text")]


def test_conversations_keep_their_first_question() -> None:
    taken = _taken("llava", _file("llava.json"))
    video, image = taken.rows
    assert video.prompt == "USER: <video>이 영상을 자세히 설명해 주세요. ASSISTANT:"
    assert (video.completion, video.source) == (
        "강아지가 눈밭을 뛰어다닙니다.",
        "0_30_s_youtube_v0_1",
    )
    assert image.prompt == "USER: <video>무엇이 보이나요? ASSISTANT:"
    assert [one.uri for one in image.images] == ["coco/train2017/000000033471.jpg"]
    assert [row.id for row in taken.rows] == ["1006-8968804598", "1006-8968804598~2"]
    assert [(one.place, one.why) for one in taken.left_out] == [
        ("llava.json#1.3", "a later question of a conversation is not learned"),
        ("llava.json#3", "it names no video and no image"),
    ]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("sft", {"completion": "아이가 그네를 탑니다."}),
        ("dpo", {"chosen": "아이가 그네를 탑니다.", "rejected": "아이가 미끄럼틀을 탑니다."}),
        ("kto", {"completion": "아이가 그네를 탑니다.", "label": True}),
    ],
)
def test_sharegpt_has_captions_pairs_and_thumbs(stage: Stage, expected: dict[str, Any]) -> None:
    taken = _taken("llava", _file("sharegpt.jsonl"), stage=stage, media=["swing.mp4"])
    (told,) = _told(taken.rows)
    assert told.pop("prompt") == "USER: <video>무슨 일이 일어나나요? ASSISTANT:"
    assert told == {"videos": ({"uri": "clips/swing.mp4"},), **expected}
    assert taken.left_out == [LeftOut("sharegpt.jsonl:2", "it is about several")]


def test_a_table_is_read_by_the_names_of_its_columns() -> None:
    taken = _taken("csv", _file("captions.csv"), source="ours", split="eval")
    assert _told(taken.rows) == [
        {
            "videos": ({"uri": "clips/a1.mp4", "start": 1.5, "end": 4.0},),
            "completion": '고양이가 "야옹" 웁니다.\n그리고 잡니다.',
            "split": "eval",
            "source": "ours",
        },
        {
            "videos": ({"uri": "b1.mp4"},),
            "completion": "개가 뜁니다.",
            "split": "eval",
            "source": "ours",
        },
    ]
    assert [(one.place, one.why) for one in taken.left_out] == [
        ("captions.csv:5", "it names no video and no image"),
        ("captions.csv:6", "no 'completion' in a row for the stage 'sft'"),
    ]


def test_excels_korean_is_read() -> None:
    body = "key,caption,label\na.mp4,뷁한 고양이,true\nb.mp4,개,maybe\n".encode("cp949")
    taken = _taken("csv", File("a.csv", body), stage="kto")
    assert [(row.completion, row.label) for row in taken.rows] == [("뷁한 고양이", True)]
    assert taken.left_out == [LeftOut("a.csv:3", "label: Input should be a valid boolean")]
    assert text_of(File("a", "\ufeff고양이".encode())) == "고양이"
    with pytest.raises(BadData, match="neither UTF-8 nor CP949"):
        text_of(File("a", b"\xff\xff\xff"))


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (
            "sft",
            [
                {"completion": "빨간 자동차가 지나갑니다.", "videos": ({"uri": "clips/car.mp4"},)},
                {
                    "completion": "문이 열립니다.",
                    "videos": (
                        {"uri": "s3://my-bucket/clips/door.mp4", "start": 1.5, "end": 4.25},
                    ),
                },
                {
                    "completion": "사람이 들어옵니다.",
                    "videos": (
                        {"uri": "s3://my-bucket/clips/door.mp4", "start": 4.25, "end": 9.0},
                    ),
                },
            ],
        ),
        (
            "dpo",
            [
                {
                    "chosen": "빨간 자동차가 지나갑니다.",
                    "rejected": "파란 자동차가 지나갑니다.",
                    "videos": ({"uri": "clips/car.mp4"},),
                },
                {
                    "chosen": "파도가 높습니다.",
                    "rejected": "바다가 잔잔합니다.",
                    "videos": ({"uri": "clips/sea.mp4"},),
                },
            ],
        ),
        (
            "kto",
            [
                {
                    "completion": "파란 자동차가 지나갑니다.",
                    "label": False,
                    "videos": ({"uri": "clips/car.mp4"},),
                },
                {
                    "completion": "빨간 자동차가 지나갑니다.",
                    "label": True,
                    "videos": ({"uri": "clips/car.mp4"},),
                },
            ],
        ),
    ],
)
def test_label_studio_has_captions_corrections_and_thumbs(
    stage: Stage, expected: list[dict[str, Any]]
) -> None:
    taken = _taken(
        "label-studio", _file("label-studio.json"), stage=stage, media=["car.mp4", "sea.mp4"]
    )
    assert _told(taken.rows) == expected
    reasons = {one.place: one.why for one in taken.left_out}
    assert reasons["label-studio.json#2.2"] == "its annotator skipped it"
    assert reasons["label-studio.json#4"] == "nobody has annotated it"


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("sft", [{"completion": "갈색 개가 소파에서 잡니다."}]),
        (
            "dpo",
            [
                {"chosen": "갈색 개가 소파에서 잡니다.", "rejected": "개가 잡니다."},
                {"chosen": "고양이가 잡니다.", "rejected": "개가 잡니다."},
            ],
        ),
        (
            "kto",
            [
                {"completion": "개가 잡니다.", "label": False},
                {"completion": "갈색 개가 소파에서 잡니다.", "label": True},
            ],
        ),
    ],
)
def test_argilla_has_corrections_thumbs_and_preferences(
    stage: Stage, expected: list[dict[str, Any]]
) -> None:
    taken = _taken("argilla", _file("argilla.json"), stage=stage)
    video = {"videos": ({"uri": "s3://my-bucket/clips/7.mp4"},)}
    assert _told(taken.rows) == [{**video, **one} for one in expected]
    assert taken.left_out[-1] == LeftOut("argilla.json#2", "nobody has annotated it")
    # The client exports a ranking in the order of its question, whoever came first.
    assert "tells no ranks" in {one.place: one.why for one in taken.left_out}["argilla.json#1.3"]


SHOWN = "파란 공이 굴러갑니다."
RIGHT = "빨간 공이 굴러갑니다."


@pytest.mark.parametrize(
    ("verdicts", "written", "sft", "kto"),
    [
        (["나쁨"], SHOWN, [], [(SHOWN, False)]),  # the text that was filled in comes along
        (["좋음"], SHOWN, [SHOWN], [(SHOWN, True)]),
        ([], SHOWN, [SHOWN], [(SHOWN, True)]),
        ([], RIGHT, [RIGHT], [(SHOWN, False), (RIGHT, True)]),
        (["나쁨"], RIGHT, [RIGHT], [(SHOWN, False), (RIGHT, True)]),
        (["틀림"], SHOWN, [], []),  # a word that nobody knows is no approval, and no caption
        (["틀림"], None, [], []),
        (["틀림"], RIGHT, [RIGHT], [(SHOWN, False), (RIGHT, True)]),
        ([["오타", "나쁨"]], SHOWN, [], [(SHOWN, False)]),
        ([3], SHOWN, [], []),
        (["나쁨", "예"], SHOWN, [], []),  # of two questions
    ],
)
@pytest.mark.parametrize("form", ["argilla", "label-studio"])
def test_what_was_judged_is_not_learned_as_its_opposite(
    form: Any,
    verdicts: list[Any],
    written: str | None,
    sft: list[str],
    kto: list[tuple[str, bool]],
) -> None:
    if form == "argilla":
        answers: dict[str, Any] = {f"q{n}": one for n, one in enumerate(verdicts)}
        answers |= {} if written is None else {"correction": written}
        item: dict[str, Any] = {
            "fields": {"caption": SHOWN},
            "metadata": {"video": "s3://b/a.mp4"},
            "suggestions": {"correction": {"value": SHOWN}},
            "responses": {name: [{"value": one, "user_id": "u"}] for name, one in answers.items()},
        }
    else:
        results = [
            {"from_name": f"q{n}", "type": "rating", "value": {"rating": one}}
            if isinstance(one, int)
            else {
                "from_name": f"q{n}",
                "type": "choices",
                "value": {"choices": one if isinstance(one, list) else [one]},
            }
            for n, one in enumerate(verdicts)
        ]
        if written is not None:
            value = {"text": [written]}
            results.append({"from_name": "correction", "type": "textarea", "value": value})
        data = {"video": "s3://b/a.mp4", "caption": SHOWN}
        item = {"data": data, "annotations": [{"completed_by": 1, "result": results}]}
    file = File("a.json", json.dumps([item]).encode())
    assert [row.completion for row in _taken(form, file, stage="sft").rows] == sft
    assert [(row.completion, row.label) for row in _taken(form, file, stage="kto").rows] == kto


def test_a_word_that_nobody_knows_is_no_approval_whichever_question_is_named() -> None:
    record = {
        "fields": {"caption": SHOWN},
        "metadata": {"video": "s3://b/a.mp4"},
        "responses": {
            "verdict": [{"value": "틀림", "user_id": "u"}],
            "correction": [{"value": SHOWN, "user_id": "u"}],
            "stars": [{"value": None, "user_id": "u"}],
        },
    }
    file = File("a.json", json.dumps([record]).encode())
    for stage in ("sft", "kto"):
        assert _taken("argilla", file, stage=stage, question="correction").rows == []  # type: ignore[arg-type]
    record["responses"].pop("verdict")  # type: ignore[attr-defined]
    (row,) = _taken("argilla", File("a.json", json.dumps([record]).encode())).rows
    assert row.completion == SHOWN


def test_of_two_verdicts_the_one_that_is_called_so_counts() -> None:
    results = [
        {"from_name": name, "type": "choices", "value": {"choices": [said]}}
        for name, said in (("verdict", "나쁨"), ("사람이 있습니까", "예"))
    ]
    data = {"video": "s3://b/a.mp4", "caption": SHOWN}
    task = {"data": data, "annotations": [{"completed_by": 1, "result": results}]}
    (row,) = _taken("label-studio", File("a.json", json.dumps([task]).encode()), stage="kto").rows
    assert row.label is False


def test_answers_that_are_no_text_are_none() -> None:
    """A choice of several labels, and a ranking of what is no field."""
    record = json.loads((LAYOUTS / "argilla.json").read_text())[0]
    record["responses"] = {"labels": [{"value": ["낮", "밖"], "user_id": "u"}]}
    file = File("a.json", json.dumps([record]).encode())
    for stage in ("sft", "dpo", "kto"):
        assert _taken("argilla", file, stage=stage).rows == []  # type: ignore[arg-type]
    ranks = [{"value": "caption", "rank": 2}, {"value": "other", "rank": 1}]
    record["responses"] = {"ranking": [{"value": ranks, "user_id": "u"}]}
    file = File("a.json", json.dumps([record]).encode())
    (row,) = _taken("argilla", file, stage="dpo").rows
    assert (row.chosen, row.rejected) == ("고양이가 잡니다.", "개가 잡니다.")


def test_of_several_questions_one_is_to_be_named() -> None:
    record = json.loads((LAYOUTS / "argilla.json").read_text())[0]
    record["suggestions"] = {}  # or what was suggested tells which of them has texts
    record["responses"] = {
        name: [{"value": f"{name}의 답", "user_id": "u"}] for name in ("one", "other")
    }
    file = File("a.json", json.dumps([record]).encode())
    assert "--question" in _taken("argilla", file).left_out[0].why
    assert [row.completion for row in _taken("argilla", file, question="other").rows] == [
        "other의 답"
    ]


def _studio(*results: dict[str, Any]) -> File:
    task = {"data": {"video": "a.mp4"}, "annotations": [{"completed_by": 1, "result": results}]}
    return File("a.json", json.dumps([task]).encode())


def _text(text: str, name: str = "caption", region: str = "r1", **value: Any) -> dict[str, Any]:
    value |= {"text": [text]}
    return {"id": region, "from_name": name, "type": "textarea", "value": value}


FRAMES = "its part is told in frames, and not in seconds"
BOX = "it is about a region of the picture"


@pytest.mark.parametrize(
    ("regions", "why"),
    [
        ([{"ranges": [{"start": 1, "end": 50}]}, {"ranges": [{"start": 51, "end": 120}]}], FRAMES),
        ([{"x": 1.5, "y": 2, "width": 30, "height": 40}] * 2, BOX),
        ([{"framesCount": 75, "sequence": [{"frame": 1, "x": 3, "y": 4}]}] * 2, FRAMES),
    ],
)
def test_what_is_said_of_a_region_is_said_of_no_whole_video(
    regions: list[dict[str, Any]], why: str
) -> None:
    texts = [
        _text(f"{number}번 장면입니다.", region=f"r{number}", **value)
        for number, value in enumerate(regions)
    ]
    taken = _taken("label-studio", _studio(*texts))
    assert taken.rows == []
    assert [(one.place, one.why) for one in taken.left_out] == [
        ("a.json#1.1", why),
        ("a.json#1.2", why),
    ]
    taken = _taken("label-studio", _studio(*texts, _text("개가 잡니다.", region="r9")))
    assert [row.completion for row in taken.rows] == ["개가 잡니다."]
    assert len(taken.left_out) == 2


def test_what_is_said_of_some_words_is_said_of_no_seconds() -> None:
    """Bounds of a region of a text count characters."""
    value = {"start": 0, "end": 4, "text": "파란 공", "labels": ["틀린 말"]}
    words = {"id": "r1", "from_name": "span", "type": "labels", "value": value}
    file = _studio(words, _text("빨간 공입니다.", start=0, end=4))
    taken = _taken("label-studio", file)
    assert (taken.rows, [one.why for one in taken.left_out]) == (
        [],
        ["it is about some words of a text"],
    )
    seconds = {"id": "r1", "from_name": "s", "type": "labels", "value": {"start": 0, "end": 4}}
    (row,) = _taken("label-studio", _studio(seconds, _text("빨간 공입니다.", start=0, end=4))).rows
    assert (row.media.start, row.media.end) == (0, 4)


def test_of_several_texts_of_an_annotator_one_is_to_be_named() -> None:
    file = _studio(_text("개가 잡니다."), _text("소리가 나쁩니다.", "note", "r2"))
    taken = _taken("label-studio", file)
    assert (taken.rows, "--question" in taken.left_out[0].why) == ([], True)
    assert [row.completion for row in _taken("label-studio", file, question="caption").rows] == [
        "개가 잡니다."
    ]


@pytest.mark.parametrize(("stage", "rows"), [("dpo", 0), ("kto", 0), ("sft", 1)])
def test_a_pair_about_a_later_question_is_not_put_under_the_first(stage: Stage, rows: int) -> None:
    said = ["무엇이 보이나요?", "고양이입니다.", "무슨 색인가요?", "검은색입니다."]
    turns = [
        {"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(said)
    ]
    item = {
        "videos": ["a.mp4"],
        "conversations": turns[:3] if stage == "dpo" else turns,
        "chosen": {"from": "gpt", "value": "검은색입니다."},
        "rejected": {"from": "gpt", "value": "흰색입니다."},
        "kto_tag": False,
    }
    taken = _taken("llava", File("a.json", json.dumps([item]).encode()), stage=stage)
    assert len(taken.rows) == rows
    (why,) = [one.why for one in taken.left_out]
    assert why == (
        "a later question of a conversation is not learned"
        if rows
        else "its pair or thumb is not about the first question alone"
    )


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("aihub", "aihub-D2_AN_0531_000002.json"),
        ("label-studio", "label-studio.json"),
        ("argilla", "argilla.json"),
    ],
)
def test_what_is_broken_in_a_file_keeps_nothing_else_from_being_taken(form: Any, name: str) -> None:
    whole = json.loads(_file(name).body)
    items = whole if isinstance(whole, list) else [whole]
    rows = len(_taken(form, _file(name)).rows)
    for broken in (None, {}, 7):
        body = json.dumps([*items, broken, *items]).encode()
        taken = _taken(form, File("a.json", body))
        assert len(taken.rows) == 2 * rows
        assert f"a.json#{len(items) + 1}" in {one.place for one in taken.left_out}


def test_an_export_of_argilla_1_is_told_from_one_that_nobody_has_annotated() -> None:
    record = json.loads((LAYOUTS / "argilla.json").read_text())[0]
    answer = {"user_id": "u", "status": "submitted", "values": {"text": {"value": "개"}}}
    record["responses"] = [answer]
    (left_out,) = _taken("argilla", File("a.json", json.dumps([record]).encode())).left_out
    assert "Argilla 1" in left_out.why


def _record(**more: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "text": "개가 잡니다.",
        "video": {"bucket": "b", "key": "a/개.mp4", "etag": "e", "size_bytes": 1},
        "recipe": {"prompt": BASE_PROMPT},
        **more,
    }


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_our_captions_are_learned_as_people_corrected_them(pack: Any) -> None:
    lines = [
        _record(),
        _record(correction="고양이가 잡니다."),
        _record(correction="개가 잡니다."),
        _record(label=True),
        _record(label=False),
        _record(
            segments=[
                {"start_s": 0.0, "end_s": 4.0, "text": "문", "correction": "문이 열립니다."},
                {"start_s": 4.0, "end_s": 8.0, "text": "사람"},
            ]
        ),
    ]
    body = pack("\n".join(json.dumps(line) for line in lines).encode())
    file = File("part-00000.jsonl.gz" if pack is gzip.compress else "part-00000.jsonl", body)
    captions = _taken("records", file).rows
    assert [(row.completion, row.media.uri, row.prompt) for row in captions[:3]] == [
        (text, "s3://b/a/개.mp4", BASE_PROMPT)
        for text in ("고양이가 잡니다.", "개가 잡니다.", "개가 잡니다.")
    ]
    assert (captions[3].completion, captions[3].media.end) == ("문이 열립니다.", 4.0)
    pairs = _taken("records", file, stage="dpo").rows
    assert [(row.chosen, row.rejected) for row in pairs] == [
        ("고양이가 잡니다.", "개가 잡니다."),
        ("문이 열립니다.", "문"),
    ]
    thumbs = _taken("records", file, stage="kto").rows
    assert [(row.completion, row.label) for row in thumbs] == [
        ("개가 잡니다.", False),
        ("고양이가 잡니다.", True),
        ("개가 잡니다.", True),
        ("개가 잡니다.", True),
        ("개가 잡니다.", False),
        ("문", False),
        ("문이 열립니다.", True),
    ]
    assert _taken("records", file).left_out[0].why.startswith("nobody has looked at it")


def test_what_an_export_writes_is_what_the_importer_reads() -> None:
    """The file holds lines of `jamak export`, and beside them what somebody has said of each."""
    file = _file("records.jsonl")
    lines = [json.loads(line) for line in file.body.decode().splitlines()]
    for line in lines:
        for one in (line, *line["segments"]):
            for said in ("correction", "label"):
                one.pop(said, None)
    exported = gzip.decompress(_jsonl([decode(Caption, line) for line in lines])).decode()
    assert [json.loads(line) for line in exported.splitlines()] == lines
    assert [
        (row.completion, row.media.uri, row.media.end) for row in _taken("records", file).rows
    ] == [("고양이가 잡니다.", "s3://b/k", None), ("문이 열립니다.", "s3://b/k", 4.0)]
    assert [row.label for row in _taken("records", file, stage="kto").rows].count(True) == 2


def test_a_file_of_another_layout_is_named_and_the_others_are_taken() -> None:
    other = File("notes.json", b'{"a": 1}')
    for form, name in (
        ("aihub", "aihub-D2_AN_0531_000002.json"),
        ("llava", "llava.json"),
        ("label-studio", "label-studio.json"),
        ("argilla", "argilla.json"),
        ("records", "records.jsonl"),
    ):
        taken = _taken(form, other, _file(name))  # type: ignore[arg-type]
        assert taken.rows, form
        assert taken.left_out[0].place == "notes.json", form


def test_what_may_not_be_trained_on_is_left_out_here_already() -> None:
    body = "key,caption\na.mp4,고양이</s>\nb.mp4,고양\ufffd이\n".encode()
    assert [one.why for one in _taken("csv", File("a.csv", body)).left_out] == [
        "its text holds </s>, which models read as a token of its own",
        "its text holds U+FFFD, which is no text",
    ]
    long = f"key,caption\na.mp4,{'개' * (256 << 10)}\n".encode()
    (left_out,) = _taken("csv", File("a.csv", long)).left_out
    assert re.fullmatch(r"it has \d+ characters; it may have 262144", left_out.why)


def test_files_are_found_as_data_sets_call_them() -> None:
    nfd = "\u1100\u1162.mp4"  # 개, as macOS writes it
    names = Names([(name, f"s3://b/{name}") for name in ("x/a.mp4", "y/a.mp4", "y/b.mp4", nfd)])

    def find(name: str) -> str | None:
        address, why = names.find(name)
        return address or why

    assert find("./x/a.mp4") == "s3://b/x/a.mp4"
    assert find("/home/me/set/y/a.mp4") == "s3://b/y/a.mp4"
    assert find("b") == find("https://host/some/b.mp4") == "s3://b/y/b.mp4"
    assert find("개.mp4") == f"s3://b/{nfd}"
    assert find("s3://other/c.mp4") == "s3://other/c.mp4"
    assert (find("a.mp4"), find("c.mp4"), find("")) == (SEVERAL, NO_FILE, NO_FILE)
    assert Names(None).find("clips/a.mp4") == ("clips/a.mp4", None)
    assert Names(None).find("https://host/a.mp4") == (None, NO_ADDRESS)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0:16.00000", 16.0),
        ("1:02:03.5", 3723.5),
        (4, 4.0),
        ("4.25", 4.25),
        ("16 s", None),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        (True, None),
        (None, None),
        ("1:2:3:4", None),
    ],
)
def test_seconds(said: Any, expected: float | None) -> None:
    assert seconds(said) == expected


KEYS = st.sampled_from(
    [
        *("video", "image", "data", "fields", "annotations", "result", "value", "text", "type"),
        *("conversations", "from", "responses", "trigger_info", "timestamps", "video_name"),
        *("segments", "correction", "label", "bucket", "key", "choices", "predictions", "metadata"),
        *("suggestions", "rank", "start", "selected", "recipe", "trigger_action", "to_name"),
    ]
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["", "a", "textarea"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=60, deadline=None)
@given(item=ANYTHING)
def test_no_file_breaks_an_import(item: Any) -> None:
    """Whatever is in it: the others of its folder are taken."""
    body = json.dumps([item, item]).encode()
    for form in KINDS:
        for stage in ("sft", "dpo", "kto"):
            _taken(form, File("a.json", body), stage=stage)  # type: ignore[arg-type]
