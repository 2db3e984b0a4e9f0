"""Label Studio's export "JSON": a list of tasks, each with what every annotator said.

    {"id": 1, "data": {"video": "s3://b/a.mp4"}, "predictions": [...], "annotations": [
        {"was_cancelled": false, "completed_by": 1, "updated_at": "...", "result": [
            {"from_name": "caption", "type": "textarea", "value": {"text": ["..."]}}]}]}

labelstud.io/guide/export, /guide/task_format, /tags/textarea, /tags/choices, /tags/rating,
/tags/pairwise. A `textarea` is a caption, and with `start` and `end` (seconds) one of a part; what
the task showed as a prediction, or in its field `caption` or `text`, is what it corrects; `choices`
and a `rating` of five are thumbs; a `pairwise` chooses one of two fields of the task, which its
`toName` names, or of `text1` and `text2`, as the tool's template has it. What is said of another
region (frames of a timeline, a box in a picture) is said of no whole and of no part.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from shared.annotations.answers import (
    NEITHER,
    SEVERAL,
    SKIPPED,
    UNANNOTATED,
    Answer,
    Said,
    moment,
    stars,
    thumb_of,
    verdict_of,
)
from shared.annotations.files import File, LeftOut, items_of, seconds, text_in
from shared.errors import BadData

FIELDS = ("video", "video_url", "url", "image", "key", "uri")
SHOWN = ("caption", "text", "completion")
PAIR = ("text1", "text2")
UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What it puts before the names of uploaded files."""

FRAMES = ("ranges", "sequence")
PICTURE = ("x", "points", "vertices", "rle")
"""What a region's value has: of a timeline, and in a picture."""


@dataclass(frozen=True)
class Part:
    """The whole, if it has nothing."""

    start: float | None = None
    end: float | None = None
    region: str = ""
    why: str = ""
    """Nothing can be learned of such a region."""


WHOLE = Part()


def answers_in(file: File, question: str | None = None) -> Iterator[Answer | LeftOut]:
    """Args:
        question: the name of the `textarea` that counts, where there are several.

    Raises:
        BadData: it is of another layout altogether.
    """
    read_any = False
    for place, task in items_of(file):
        if isinstance(task, dict) and isinstance(task.get("data"), dict):
            read_any = True
            yield from _of_task(place, task, question)
        elif read_any:
            yield LeftOut(place, "it is no task")
        else:
            raise BadData(
                f"{file.name} is no export of tasks: it has no 'data'",
                cure="Export as JSON (not JSON-MIN) from Label Studio.",
            )


def questions_in(file: File) -> set[str]:
    """The names of those that were answered with texts. Raises BadData: it is no JSON."""
    return {
        one["from_name"]
        for _, task in items_of(file)
        if isinstance(task, dict)
        for annotation in _dicts(task.get("annotations"))
        for one in _results(annotation)
        if one.get("type") == "textarea" and isinstance(one.get("from_name"), str)
    }


def _of_task(place: str, task: dict[str, Any], question: str | None) -> Iterator[Answer | LeftOut]:
    data = task["data"]
    media = next((data[key] for key in FIELDS if isinstance(data.get(key), str)), None)
    annotations = _dicts(task.get("annotations"))
    if not annotations:
        yield LeftOut(place, UNANNOTATED)
    for number, annotation in enumerate(annotations, start=1):
        at = f"{place}.{number}" if len(annotations) > 1 else place
        if annotation.get("was_cancelled"):
            yield LeftOut(at, SKIPPED)
            continue
        parts = _parts(annotation, task, question)
        for number, (part, said) in enumerate(parts.items(), start=1):
            one = f"{at}.{number}" if len(parts) > 1 else at
            if isinstance(said, str):
                yield LeftOut(one, said)
                continue
            yield Answer(
                one,
                said,
                _name(media) if media else None,
                text_in(data.get("record")),
                _annotator(annotation.get("completed_by")),
                moment(annotation.get("updated_at")) or moment(annotation.get("created_at")),
                part.start,
                part.end,
            )


def _annotator(told: Any) -> str | None:
    """The id, which all exports tell: the "Export" button and a snapshot alone, or, if a snapshot
    was asked for it, beside the e-mail address (Label Studio 1.23.2). By the address one person
    would be two."""
    if isinstance(told, dict):
        told = told.get("id") or told.get("email")
    return str(told) if isinstance(told, int | str) and str(told).strip() else None


def _parts(
    annotation: dict[str, Any], task: dict[str, Any], question: str | None
) -> dict[Part, Said | str]:
    """What was said of the whole, or of each part of it; or why that cannot be told."""
    whole = _shown(task, question)
    of_text = {one.get("id") for one in _results(annotation) if _is_of_text(one["value"])}
    found: dict[Part, Said] = {}
    answered: dict[Part, set[Any]] = {}
    judged: dict[Part, dict[str, bool | None]] = {}
    for one in _results(annotation):
        value, part = one["value"], _part(one, of_text)
        about = found.setdefault(part, Said(shown=whole if part == WHOLE else None))
        kind = one.get("type")
        if kind == "textarea" and question in (None, one.get("from_name")):
            if text := text_in(value.get("text")):
                about.written = text
                answered.setdefault(part, set()).add(one.get("from_name"))
        elif kind in ("choices", "rating"):
            judged.setdefault(part, {})[str(one.get("from_name"))] = _liked(value)
        elif kind == "pairwise":
            about.better = _better(one, task["data"])
    why = {part: SEVERAL for part, names in answered.items() if len(names) > 1}
    for part, verdicts in judged.items():
        verdict, about = verdict_of(verdicts), found[part]
        if isinstance(verdict, str):
            why.setdefault(part, verdict)
        else:
            about.liked, about.undecided = verdict, verdict is None
            if about.undecided and not about.corrected and about.better is None:
                why.setdefault(part, NEITHER)
    said = {
        part: part.why or why.get(part, one)
        for part, one in found.items()
        if one != Said(shown=one.shown)
    }
    return said or {WHOLE: Said(shown=whole)}


def _is_of_text(value: dict[str, Any]) -> bool:
    """A region of a text has that text beside its bounds, which count characters; what somebody
    wrote is a list."""
    return "globalOffsets" in value or ("start" in value and isinstance(value.get("text"), str))


def _part(result: dict[str, Any], of_text: Collection[Any]) -> Part:
    """A text of a region lies in the region's own value.

    Args:
        of_text: ids of regions of a text.
    """
    value, region = result["value"], str(result.get("id"))
    if result.get("id") in of_text or _is_of_text(value):
        return Part(region=region, why="it is about some words of a text")
    if any(name in value for name in FRAMES):
        return Part(region=region, why="its part is told in frames, and not in seconds")
    if any(name in value for name in PICTURE):
        return Part(region=region, why="it is about a region of the picture")
    return Part(seconds(value.get("start")), seconds(value.get("end")))


def _liked(value: dict[str, Any]) -> bool | None:
    choices = value.get("choices")
    if isinstance(choices, list) and choices:
        return thumb_of(choices)
    return stars(value.get("rating"))


def _results(annotation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in _dicts(annotation.get("result")):
        if isinstance(one.get("value"), dict):
            yield one


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _shown(task: dict[str, Any], question: str | None) -> str | None:
    """A prediction's text, or what is in the task itself."""
    for prediction in _dicts(task.get("predictions")):
        for one in _results(prediction):
            if one.get("type") == "textarea" and question in (None, one.get("from_name")):
                return text_in(one["value"].get("text"))
    return next((text for key in SHOWN if (text := text_in(task["data"].get(key)))), None)


def _better(result: dict[str, Any], data: Mapping[str, Any]) -> tuple[str, str] | None:
    side = result["value"].get("selected")
    named = tuple(name.strip() for name in str(result.get("to_name")).split(","))
    for names in (named, PAIR):
        texts = [text for name in names if (text := text_in(data.get(name)))]
        if len(names) == len(texts) == 2 and side in ("left", "right"):
            left, right = texts
            return (left, right) if side == "left" else (right, left)
    return None


def _name(media: str) -> str:
    """`/data/local-files/?d=clips/a.mp4` is clips/a.mp4; of an upload its name before."""
    try:
        parts = urlsplit(media)
    except ValueError:  # a bracket that begins no address of IPv6: it is a name
        return media
    if (local := parse_qs(parts.query).get("d")) and "local-files" in parts.path:
        return local[0]
    if not parts.scheme.startswith("s3") and parts.path.startswith("/data/upload/"):
        return UPLOADED.sub("", PurePosixPath(unquote(parts.path)).name)
    return media
