"""Questions about videos, from the files of four published sets, as they are downloaded:

    activitynet-qa   test_q.json, test_a.json (github.com/MILVLG/activitynet-qa)
    msvd-qa          test_qa.json, youtube_mapping.txt
    msrvtt-qa        test_qa.json (both github.com/xudejing/video-question-answering)
    tgif-qa          Test_frameqa_question.csv (github.com/YunseokJANG/tgif-qa): its FrameQA

The videos lie beside them in `videos/`, under their own names. They are those of the table of
LLaVA-NeXT-Video.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import BadData

VIDEOS = "videos"
CURE = "Put the files of the set there as they are downloaded, and its videos into videos/."
KINDS = {
    "activitynet-qa": (
        *("motion", "spatial", "temporal", "yes/no", "color", "object", "location", "number"),
        "other",
    ),
    "tgif-qa": ("object", "number", "color", "location"),
}
"""Of questions, by the number that a set gives them."""


@dataclass(frozen=True)
class Asked:
    id: str
    video: str
    """Its name, without an ending."""
    question: str
    answer: str
    kind: str = ""


@dataclass(frozen=True)
class Suite:
    name: str
    asked: list[Asked]
    videos: dict[str, Path]
    """By name; of what is not there nothing can be asked."""

    @property
    def there(self) -> list[Asked]:
        return [one for one in self.asked if one.video in self.videos]


def read_suite(name: str, folder: Path) -> Suite:
    """Raises BadData: it is no known set, or its files are not there or not as published."""
    if name not in READERS:
        raise BadData(f"{name!r} is no known set", cure=f"Known are {', '.join(READERS)}.")
    try:
        asked = list(READERS[name](folder))
    except OSError as error:
        raise BadData(f"{name}: {error}", cure=CURE) from error
    except (ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise BadData(
            f"{name}: the files in {folder} are not as published: {error!r}", cure=CURE
        ) from error
    videos = {path.stem: path for path in sorted((folder / VIDEOS).glob("*")) if path.is_file()}
    return Suite(name, asked, videos)


def _activitynet(folder: Path) -> Iterator[Asked]:
    answers = {one["question_id"]: one for one in _json(folder / "test_a.json")}
    for one in _json(folder / "test_q.json"):
        answer = answers[one["question_id"]]
        # The set names YouTube's id; ActivityNet's own files begin with v_.
        yield Asked(
            id=str(one["question_id"]),
            video=f"v_{one['video_name']}",
            question=str(one["question"]),
            answer=str(answer["answer"]),
            kind=KINDS["activitynet-qa"][int(answer["type"])],
        )


def _msvd(folder: Path) -> Iterator[Asked]:
    lines = (folder / "youtube_mapping.txt").read_text(encoding="utf-8").splitlines()
    names = {number: name for name, number in (line.split() for line in lines if line.strip())}
    for one in _json(folder / "test_qa.json"):
        yield _open_ended(one, names[f"vid{one['video_id']}"])


def _msrvtt(folder: Path) -> Iterator[Asked]:
    for one in _json(folder / "test_qa.json"):
        yield _open_ended(one, f"video{one['video_id']}")


def _open_ended(one: Mapping[str, Any], video: str) -> Asked:
    """The first word of a question is its kind there: what, who, how, when, where."""
    question = str(one["question"])
    return Asked(str(one["id"]), video, question, str(one["answer"]), question.split()[0].lower())


def _tgif(folder: Path) -> Iterator[Asked]:
    with (folder / "Test_frameqa_question.csv").open(encoding="utf-8", newline="") as file:
        for number, one in enumerate(csv.DictReader(file, delimiter="\t")):
            kind = KINDS["tgif-qa"][int(one["type"])]
            key = one.get("key") or str(number)
            yield Asked(key, one["gif_name"], one["question"], one["answer"], kind)


def _json(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, list):
        raise ValueError(f"{path.name} holds no list")
    return found


READERS: dict[str, Callable[[Path], Iterator[Asked]]] = {
    "activitynet-qa": _activitynet,
    "msvd-qa": _msvd,
    "msrvtt-qa": _msrvtt,
    "tgif-qa": _tgif,
}
"""In the order of the table."""
