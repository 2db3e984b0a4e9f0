"""Argilla's `dataset.records.to_json`: a list of records, with the answers to each question.

    {"id": "7", "fields": {"caption": "..."}, "metadata": {"video": "s3://b/a.mp4"},
     "suggestions": {"correction": {"value": "...", "agent": "..."}},
     "responses": {"correction": [{"value": "...", "user_id": "..."}]}}

docs.argilla.io (reference/argilla/records/records: `Record.to_dict`). The video is named by a field
or the metadata (`video`, `image`, `url`, `key`, `uri`), for Argilla has no field of that kind. Text
answers are captions, and correct what was suggested, or the field `caption`; a label that says good
or bad, and a rating of five, are thumbs; a label that names a field, or a ranking with its ranks,
as the server has it, prefers that field's text. The export says neither when something was said,
nor which answers are drafts.
"""

import re
from collections.abc import Iterator
from typing import Any

from shared.annotations.answers import (
    LOST_RANKS,
    NEITHER,
    SEVERAL,
    UNANNOTATED,
    Answer,
    Said,
    stars,
    thumb,
    thumb_of,
    verdict_of,
)
from shared.annotations.files import File, LeftOut, items_of, text_in
from shared.errors import BadData

MEDIA = ("video", "image", "url", "key", "uri")
SHOWN = ("caption", "text", "completion", "response")
EMBEDDED = re.compile(r"<(?:video|source|img)\b[^>]*\bsrc=[\"']([^\"']+)")
"""In a text field that shows the video as HTML."""


def answers_in(file: File, question: str | None = None) -> Iterator[Answer | LeftOut]:
    """Args:
        question: whose answers are the texts, where several have texts for answers.

    Raises:
        BadData: it is of another layout altogether.
    """
    read_any = False
    for place, record in items_of(file):
        if isinstance(record, dict) and isinstance(record.get("fields"), dict):
            read_any = True
            yield from _of_record(place, record, question)
        elif read_any:
            yield LeftOut(place, "it is no record")
        else:
            raise BadData(
                f"{file.name} is no export of records: it has no 'fields'",
                cure="Export with `dataset.records.to_json(path)` from Argilla 2.",
            )


def questions_in(file: File) -> set[str]:
    """The names of those that were answered with texts. Raises BadData: it is no JSON."""
    return {
        question
        for _, record in items_of(file)
        if isinstance(record, dict)
        for answered in _answers(record.get("responses")).values()
        for question, value in answered.items()
        if isinstance(value, str) and text_in(value) and thumb(value) is None
        if _ranking(value, _dict(record.get("fields"))) is None
    }


def _of_record(
    place: str, record: dict[str, Any], question: str | None
) -> Iterator[Answer | LeftOut]:
    fields, metadata = record["fields"], _dict(record.get("metadata"))
    if isinstance(record.get("responses"), list) and record["responses"]:
        yield LeftOut(place, "its answers are as Argilla 1 has them; export it from Argilla 2")
        return
    answers = _answers(record.get("responses"))
    if not answers:
        yield LeftOut(place, UNANNOTATED)
    for number, (user, answered) in enumerate(answers.items(), start=1):
        at = f"{place}.{number}" if len(answers) > 1 else place
        said = _said(record, answered, question)
        if isinstance(said, str):
            yield LeftOut(at, said)
            continue
        named = text_in(metadata.get("record")) or text_in(fields.get("record"))
        yield Answer(at, said, _media(fields, metadata), named, user)


def _media(fields: dict[str, Any], metadata: dict[str, Any]) -> str | None:
    for where in (fields, metadata):
        for key in MEDIA:
            if text := text_in(where.get(key)):
                embedded = EMBEDDED.search(text)
                return embedded[1] if embedded else text
    for value in fields.values():
        if isinstance(value, str) and (embedded := EMBEDDED.search(value)):
            return embedded[1]
    return None


def _answers(responses: Any) -> dict[str | None, dict[str, Any]]:
    """User -> question -> value; drafts and what was discarded are no answers."""
    by_user: dict[str | None, dict[str, Any]] = {}
    for question, given in _dict(responses).items():
        for one in given if isinstance(given, list) else ():
            if isinstance(one, dict) and one.get("status", "submitted") == "submitted":
                user = one.get("user_id")
                by_user.setdefault(None if user is None else str(user), {})[question] = one.get(
                    "value"
                )
    return by_user


def _said(record: dict[str, Any], answered: dict[str, Any], asked: str | None) -> Said | str:
    """Or why that cannot be told."""
    fields, suggested = record["fields"], _texts(record)
    found = Said(shown=next((text for key in SHOWN if (text := text_in(fields.get(key)))), None))
    judged: dict[str, bool | None] = {}
    lost = False
    for question, value in answered.items():
        ranking = _ranking(value, fields)
        if ranking is not None:
            found.better = ranking
        elif isinstance(value, list):
            words = [one for one in value if isinstance(one, str)]
            if len(words) > 1 and set(words) <= fields.keys():
                lost = True
            elif words:
                judged[question] = thumb_of(words)
        elif not isinstance(value, str):
            if value is not None:
                judged[question] = stars(value)
        elif (liked := thumb(value)) is not None:
            judged[question] = liked
        elif asked == question or (asked is None and (not suggested or question in suggested)):
            if found.written is not None:
                return SEVERAL
            found.written = text_in(value)
            found.shown = suggested.get(question) or found.shown
        else:  # a label in other words, or a note: no approval of what was left as it was
            judged[question] = None
    verdict = verdict_of(judged)
    if isinstance(verdict, str):
        return verdict
    found.liked, found.undecided = verdict, bool(judged) and verdict is None
    if found.liked is None and not found.corrected and found.better is None:
        if lost:
            return LOST_RANKS
        if found.undecided:
            return NEITHER
    return found


def _texts(record: dict[str, Any]) -> dict[str, str]:
    """Of the questions that have texts for answers what was suggested. Where it is known of one,
    another's answer is a label, whatever its words."""
    found = {}
    for question, suggestion in _dict(record.get("suggestions")).items():
        text = text_in(_dict(suggestion).get("value"))
        if text and thumb(text) is None and text not in record["fields"]:
            found[question] = text
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _ranking(value: Any, fields: dict[str, Any]) -> tuple[str, str] | None:
    """The texts of the first and the last; of a label that names one of two fields, of both. What
    the client exports of a ranking are its fields in the order of the question, without ranks
    (argilla 2.8.0): nobody can tell who came first."""
    if isinstance(value, str) and value in fields:
        names = [value, *(name for name in fields if name != value and name not in MEDIA)]
        if len(names) > 2 and value not in SHOWN:
            names = [name for name in names if name not in SHOWN]  # they are beside the two
        if len(names) != 2:
            return None
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
