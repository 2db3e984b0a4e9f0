"""Sets of questions about videos, in the layouts that they are published in."""

import json
from pathlib import Path

import pytest

from shared.errors import BadData
from workers.eval.table import Answered, TableRow
from workers.judge.answers import is_right
from workers.judge.suites import Asked, read_suite


def write(folder: Path, **files: object) -> Path:
    (folder / "videos").mkdir(parents=True)
    for name, content in files.items():
        stem, _, ending = name.rpartition("_")
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{stem}.{ending}").write_text(text)
    return folder


def video(folder: Path, name: str) -> None:
    (folder / "videos" / name).write_bytes(b"")


def test_activitynet_qa(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a",
        test_q_json=[
            {"video_name": "1QIUV7WYKXg", "question": "is he old", "question_id": "v_1Q_3"},
            {"video_name": "gone", "question": "what is it", "question_id": "v_gone_1"},
        ],
        test_a_json=[
            {"answer": "chair", "type": 5, "question_id": "v_gone_1"},
            {"answer": "yes", "type": 3, "question_id": "v_1Q_3"},
        ],
    )
    video(folder, "v_1QIUV7WYKXg.mp4")
    suite = read_suite("activitynet-qa", folder)
    assert suite.asked == [
        Asked("v_1Q_3", "v_1QIUV7WYKXg", "is he old", "yes", "yes/no"),
        Asked("v_gone_1", "v_gone", "what is it", "chair", "object"),
    ]
    assert [one.id for one in suite.there] == ["v_1Q_3"]


def test_msvd_qa_names_its_videos_by_a_mapping(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a",
        test_qa_json=[{"answer": "cat", "id": 7, "question": "what runs?", "video_id": 2}],
        youtube_mapping_txt="-4wsuPCjDBc_5_15 vid1\nxyz_0_9 vid2\n\n",
    )
    video(folder, "xyz_0_9.avi")
    suite = read_suite("msvd-qa", folder)
    assert suite.there == [Asked("7", "xyz_0_9", "what runs?", "cat", "what")]
    assert suite.videos["xyz_0_9"].name == "xyz_0_9.avi"


def test_msrvtt_qa_numbers_its_videos(tmp_path: Path) -> None:
    row = {"answer": "two", "category_id": 1, "id": 9, "question": "how many?", "video_id": 7010}
    folder = write(tmp_path / "a", test_qa_json=[row])
    assert read_suite("msrvtt-qa", folder).asked == [
        Asked("9", "video7010", "how many?", "two", "how")
    ]


def test_tgif_qa_is_a_table_with_tabs(tmp_path: Path) -> None:
    table = (
        "gif_name\tquestion\tanswer\ttype\tvid_id\tkey\n"
        'tumblr_a1\twhat is, "held" by the man ?\tphone\t0\tID1\t11\n'
        "tumblr_b2\twhat is the color of the hat ?\tred\t2\tID2\t12\n"
    )
    folder = write(tmp_path / "a", Test_frameqa_question_csv=table)
    assert read_suite("tgif-qa", folder).asked == [
        Asked("11", "tumblr_a1", 'what is, "held" by the man ?', "phone", "object"),
        Asked("12", "tumblr_b2", "what is the color of the hat ?", "red", "color"),
    ]


def test_what_is_not_as_published_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="'coco' is no known set"):
        read_suite("coco", tmp_path)
    with pytest.raises(BadData, match=r"msrvtt-qa: .*test_qa\.json"):
        read_suite("msrvtt-qa", tmp_path)
    for content in ({}, [{"id": 1}], "[", [{"id": 1, "question": "", "answer": "", "video_id": 1}]):
        folder = write(tmp_path / f"{len(list(tmp_path.iterdir()))}", test_qa_json=content)
        with pytest.raises(BadData, match="not as published"):
            read_suite("msrvtt-qa", folder)


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        ("Yes.", "yes", True),
        ("yes, he is", "yes", True),
        ("A guitar", "guitar", True),
        ("Two", "2", True),
        ("3 people", "three", True),
        ("the swimming pool", "swimming pool", True),
        ("swimming", "swimming pool", False),
        ("no", "yes", False),
        ("yesterday", "yes", False),
        ("playing a guitar", "guitar", False),
        ("", "yes", False),
        ("고양이가 있다", "고양이가", True),
    ],
)
def test_an_answer_is_right_or_begins_with_it(said: str, answer: str, right: bool) -> None:
    assert is_right(said, answer) is right


def test_a_row_of_the_table() -> None:
    row = TableRow("a" * 12)
    for kind, answer, said in (
        ("color", "red", "red"),
        ("color", "blue", "red"),
        ("number", "2", "two"),
    ):
        row.answers["tgif-qa"].append(Answered(Asked("1", "v", "q", answer, kind), said))
    assert row.accuracy("tgif-qa") == pytest.approx(2 / 3)
    told = row.told()["suites"]["tgif-qa"]
    assert told["by_kind"] == {"color": 0.5, "number": 1.0}
    assert told["questions"] == 3
