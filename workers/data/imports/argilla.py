"""Argilla's `dataset.records.to_json`: a list of records, with the answers to each question.

    {"id": "7", "fields": {"caption": "..."}, "metadata": {"video": "s3://b/a.mp4"},
     "suggestions": {"correction": {"value": "...", "agent": "..."}},
     "responses": {"correction": [{"value": "...", "user_id": "..."}]}}

docs.argilla.io (reference/argilla/records/records: `Record.to_dict`). The video is named by a field
or the metadata (`video`, `image`, `url`, `key`, `uri`), for Argilla has no field of that kind. Text
answers are captions, and correct what was suggested, or the field `caption`; a label that says good
or bad is a thumb; a ranking, or a label that names a field, prefers that field's text. The export
does not say which answers are drafts.
"""

import re
from collections.abc import Iterator
from typing import Any

from shared.errors import BadData
from workers.data.imports.found import (
    Asked,
    File,
    Found,
    LeftOut,
    Texts,
    items_of,
    text_in,
    thumb,
)

MEDIA = ("video", "image", "url", "key", "uri")
SHOWN = ("caption", "text", "completion", "response")
EMBEDDED = re.compile(r"<(?:video|source|img)\b[^>]*\bsrc=[\"']([^\"']+)")
"""In a text field that shows the video as HTML."""


def found_in(file: File, asked: Asked) -> Iterator[Found | LeftOut]:
    for place, record in items_of(file):
        if not isinstance(record, dict) or not isinstance(record.get("fields"), dict):
            raise BadData(
                f"{file.name} is no export of records: it has no 'fields'",
                cure="Export with `dataset.records.to_json(path)` from Argilla 2.",
            )
        yield from _of_record(place, record, asked)


def _of_record(place: str, record: dict[str, Any], asked: Asked) -> Iterator[Found | LeftOut]:
    media = _media(record)
    if media is None:
        yield LeftOut(place, "it names no video and no image")
        return
    answers = list(_answers(record.get("responses")))
    if not answers:
        yield LeftOut(place, "nobody has annotated it")
    for number, said in enumerate(answers, start=1):
        at = f"{place}.{number}" if len(answers) > 1 else place
        texts = _texts(record, said, asked)
        if isinstance(texts, str):
            yield LeftOut(at, texts)
            continue
        rows = texts.columns(asked.stage)
        if isinstance(rows, str):
            yield LeftOut(at, rows)
            continue
        for columns in rows:
            yield Found(at, media, columns)


def _media(record: dict[str, Any]) -> str | None:
    fields, metadata = record["fields"], _dict(record.get("metadata"))
    for where in (fields, metadata):
        for key in MEDIA:
            if text := text_in(where.get(key)):
                embedded = EMBEDDED.search(text)
                return embedded[1] if embedded else text
    for value in fields.values():
        if isinstance(value, str) and (embedded := EMBEDDED.search(value)):
            return embedded[1]
    return None


def _answers(responses: Any) -> Iterator[dict[str, Any]]:
    """Question -> value, of each who answered; drafts and what was discarded are no answers."""
    by_user: dict[str, dict[str, Any]] = {}
    for question, given in _dict(responses).items():
        for one in given if isinstance(given, list) else ():
            if isinstance(one, dict) and one.get("status", "submitted") == "submitted":
                by_user.setdefault(str(one.get("user_id")), {})[question] = one.get("value")
    yield from by_user.values()


def _texts(record: dict[str, Any], said: dict[str, Any], asked: Asked) -> Texts | str:
    fields = record["fields"]
    found = Texts(shown=next((text for key in SHOWN if (text := text_in(fields.get(key)))), None))
    for question, value in said.items():
        ranking = _ranking(value, fields)
        if ranking is not None:
            found.better = ranking
        elif isinstance(value, str) and thumb(value) is not None:
            found.liked = thumb(value)
        elif (
            asked.question in (None, question)
            and isinstance(value, str)
            and (text := text_in(value))
        ):
            if found.written is not None:
                return "several questions have texts for answers: name one with --question"
            found.written = text
            suggested = _dict(_dict(record.get("suggestions")).get(question))
            found.shown = text_in(suggested.get("value")) or found.shown
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _ranking(value: Any, fields: dict[str, Any]) -> tuple[str, str] | None:
    """The texts of the first and the last; of a label that names one of two fields, of both."""
    if isinstance(value, str) and value in fields:
        names = [value, *(name for name in fields if name != value and name not in MEDIA)]
        if len(names) != 2:
            return None
    elif isinstance(value, list) and all(isinstance(one, str) for one in value):
        if len(value) < 2:
            return None
        names = [value[0], value[-1]]  # the best first, as records say it
    elif isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("rank"), int) for one in value
    ):  # as the server's own JSON has it
        ranked = sorted(value, key=lambda one: one["rank"])
        if len(ranked) < 2 or ranked[0]["rank"] == ranked[-1]["rank"]:
            return None
        names = [str(ranked[0].get("value")), str(ranked[-1].get("value"))]
    else:
        return None
    texts = [text_in(fields.get(name)) for name in names]
    return (texts[0], texts[1]) if texts[0] and texts[1] else None
