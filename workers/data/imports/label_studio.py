"""Label Studio's export "JSON": a list of tasks, each with what every annotator said.

    {"id": 1, "data": {"video": "s3://b/a.mp4"}, "predictions": [...], "annotations": [
        {"was_cancelled": false, "result": [
            {"from_name": "caption", "type": "textarea", "value": {"text": ["..."]}}]}]}

labelstud.io/guide/export, /guide/task_format, /tags/textarea, /tags/choices, /tags/pairwise. A
`textarea` is a caption, and with `start` and `end` (seconds) one of a part; what the task showed
as a prediction, or in its field `caption` or `text`, is what it corrects; `choices` are thumbs; a
`pairwise` chooses one of two fields of the task, which its `toName` names.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from shared.errors import BadData
from workers.data.imports.found import (
    Asked,
    File,
    Found,
    LeftOut,
    Texts,
    items_of,
    seconds,
    text_in,
    thumb,
)

FIELDS = ("video", "video_url", "url", "image", "key", "uri")
SHOWN = ("caption", "text", "completion")
UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What it puts before the names of uploaded files."""

Part = tuple[float | None, float | None]


def found_in(file: File, asked: Asked) -> Iterator[Found | LeftOut]:
    for place, task in items_of(file):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise BadData(
                f"{file.name} is no export of tasks: it has no 'data'",
                cure="Export as JSON (not JSON-MIN) from Label Studio.",
            )
        yield from _of_task(place, task, asked)


def _of_task(place: str, task: dict[str, Any], asked: Asked) -> Iterator[Found | LeftOut]:
    data = task["data"]
    media = next((data[key] for key in FIELDS if isinstance(data.get(key), str)), None)
    if media is None:
        yield LeftOut(place, "it names no video and no image")
        return
    annotations = _dicts(task.get("annotations"))
    if not annotations:
        yield LeftOut(place, "nobody has annotated it")
    for number, annotation in enumerate(annotations, start=1):
        at = f"{place}.{number}" if len(annotations) > 1 else place
        if annotation.get("was_cancelled"):
            yield LeftOut(at, "its annotator skipped it")
            continue
        parts = _parts(annotation, task, asked)
        for part, (start, end) in enumerate(parts, start=1):
            rows = parts[start, end].columns(asked.stage)
            here = f"{at}.{part}" if len(parts) > 1 else at
            if isinstance(rows, str):
                yield LeftOut(here, rows)
                continue
            for columns in rows:
                yield Found(here, _name(media), columns, start, end)


def _parts(annotation: dict[str, Any], task: dict[str, Any], asked: Asked) -> dict[Part, Texts]:
    """What was said of the whole, or of each part of it."""
    whole = _shown(task, asked)
    found: dict[Part, Texts] = {}
    for one in _results(annotation):
        value = one["value"]
        part = seconds(value.get("start")), seconds(value.get("end"))
        about = found.setdefault(part, Texts(shown=whole if part == (None, None) else None))
        if one.get("type") == "textarea" and asked.question in (None, one.get("from_name")):
            about.written = text_in(value.get("text")) or about.written
        elif one.get("type") == "choices":
            choices = value.get("choices")
            liked = thumb(choices[0]) if isinstance(choices, list) and choices else None
            about.liked = about.liked if liked is None else liked
        elif one.get("type") == "pairwise":
            about.better = _better(one, task["data"])
    said = {part: texts for part, texts in found.items() if texts != Texts(shown=texts.shown)}
    return said or {(None, None): Texts(shown=whole)}


def _results(annotation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in _dicts(annotation.get("result")):
        if isinstance(one.get("value"), dict):
            yield one


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _shown(task: dict[str, Any], asked: Asked) -> str | None:
    """A prediction's text, or what is in the task itself."""
    for prediction in _dicts(task.get("predictions")):
        for one in _results(prediction):
            if one.get("type") == "textarea" and asked.question in (None, one.get("from_name")):
                return text_in(one["value"].get("text"))
    return next((text for key in SHOWN if (text := text_in(task["data"].get(key)))), None)


def _better(result: dict[str, Any], data: Mapping[str, Any]) -> tuple[str, str] | None:
    names = [name.strip() for name in str(result.get("to_name")).split(",")]
    texts = [text_in(data.get(name)) for name in names]
    side = result["value"].get("selected")
    if len(texts) != 2 or None in texts or side not in ("left", "right"):
        return None
    left, right = (str(text) for text in texts)
    return (left, right) if side == "left" else (right, left)


def _name(media: str) -> str:
    """`/data/local-files/?d=clips/a.mp4` is clips/a.mp4; of an upload its name before."""
    parts = urlsplit(media)
    if (local := parse_qs(parts.query).get("d")) and "local-files" in parts.path:
        return local[0]
    if parts.path.startswith("/data/upload/"):
        return UPLOADED.sub("", PurePosixPath(unquote(parts.path)).name)
    return media
