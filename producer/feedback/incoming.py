"""Feedback out of files: our own lines, and what was said in annotation tools.

    jsonl          the items of `feedback.schema.json`, one a line; `about` may also be the address
                   of the video or of the record
    label-studio   its export "JSON" (shared/annotations/label_studio.py)
    argilla        its `to_json` (shared/annotations/argilla.py)

Knows nothing of what was said before (heard.py), nor of where feedback is kept.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from producer.feedback.judged import Captions, Found
from shared.annotations import argilla, label_studio
from shared.annotations.answers import Answer
from shared.annotations.files import File, LeftOut, text_of
from shared.errors import BadData, BadMessage, JamakError, NewerMessage
from shared.feedback import KINDS, Feedback, Kind, read_feedback, text_digest
from shared.messages import decode

Form = Literal["argilla", "jsonl", "label-studio"]
ENDINGS: Mapping[Form, tuple[str, ...]] = MappingProxyType(
    {
        "argilla": (".json", ".jsonl"),
        "jsonl": (".jsonl", ".jsonl.gz"),
        "label-studio": (".json",),
    }
)
"""Of its files; others in a folder are not opened."""
READERS: Mapping[Form, Callable[[File, str | None], Iterator[Answer | LeftOut]]] = MappingProxyType(
    {"argilla": argilla.answers_in, "label-studio": label_studio.answers_in}
)
QUESTIONS: Mapping[Form, Callable[[File], set[str]]] = MappingProxyType(
    {"argilla": argilla.questions_in, "label-studio": label_studio.questions_in}
)
SCHEMA = "Write it as docs/feedback.schema.json says."
TASKS = "Make the tasks with `jamak feedback export`: they name the record of each caption."
SAID_NOTHING = "nobody said how good its caption is"


@dataclass(frozen=True)
class Line:
    place: str
    told: Feedback | Answer | dict[str, Any]
    """An item; what one annotator said; an item whose `about` is an address."""


@dataclass(frozen=True)
class Refused:
    place: str
    why: str
    cure: str

    @classmethod
    def of(cls, place: str, error: JamakError) -> "Refused":
        return cls(place, str(error), error.cure)


def lines_in(form: Form, file: File, question: str | None) -> Iterator[Line | LeftOut | Refused]:
    """All that is in a file, whatever of it is wrong."""
    try:
        if form == "jsonl":
            yield from _items_in(file)
            return
        for one in READERS[form](file, question):
            yield one if isinstance(one, LeftOut) else Line(one.place, one)
    except BadData as error:
        yield Refused.of(file.name, error)


def _items_in(file: File) -> Iterator[Line | Refused]:
    for number, line in enumerate(text_of(file).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file.name}:{number}"
        try:
            told = json.loads(line)
            named = isinstance(told, dict) and isinstance(told.get("about"), str)
            yield Line(place, told if named else read_feedback(line.encode()))
        except (ValueError, RecursionError):
            yield Refused(place, "it is not JSON", SCHEMA)
        except NewerMessage as error:
            yield Refused.of(place, error)
        except BadMessage as error:
            yield Refused(place, str(error), SCHEMA)


def said_in(
    line: Line, form: Form, captions: Captions, now: datetime
) -> list[tuple[Feedback, bool]]:
    """What is said in a line; of each whether its time is told, or is `now`.

    Raises:
        BadData, BadMessage: it is no feedback.
        And what Captions raises.
    """
    told = line.told
    if isinstance(told, Answer):
        return [(item, told.at is not None) for item in _of_answer(told, form, captions, now)]
    if isinstance(told, dict):
        judged = captions.at(told["about"]).about.model_dump(mode="json")
        whole = {"at": now.isoformat(), **told, "about": judged}
        return [(read_feedback(json.dumps(whole).encode()), "at" in told)]
    if not captions.is_record(told.about.record):
        raise BadData(
            f"{told.about.record} is no record of this output",
            cure="Set JAMAK_OUTPUT to the output that its captions are in.",
        )
    return [(told, True)]


def _of_answer(answer: Answer, form: Form, captions: Captions, now: datetime) -> Iterator[Feedback]:
    if answer.start is not None or answer.end is not None:
        raise BadData(
            "it is about a part of its video",
            cure="Feedback is about whole captions; `jamak data import` takes parts.",
        )
    if answer.by is None:
        raise BadData("it does not say who said it", cure="Export it with its annotators.")
    found = _judged(answer, captions)
    who = {
        "about": found.about,
        "reviewer": answer.by if "@" in answer.by else f"{form}:{answer.by}",
        "at": answer.at or now,
        "source": form,
    }
    said, liked = answer.said, answer.said.liked
    if said.better is not None:
        chosen, rejected = said.better
        yield _item("preference", chosen=chosen, rejected=rejected, **who)
    if said.written and text_digest(said.written) != found.about.text_sha256:
        yield _item("correction", text=said.written, **who)
    elif liked is not None:
        yield _item("thumb", up=liked, **who)
    elif said.written and said.better is None and not said.undecided:
        # Who leaves the text as it is, and says nothing else, finds it right.
        yield _item("thumb", up=True, **who)


def _judged(answer: Answer, captions: Captions) -> Found:
    """Raises BadData: nobody can tell what its annotator saw."""
    if answer.record is not None:
        return captions.at(answer.record)
    if answer.media is None:
        raise BadData("it names neither a record nor a video", cure=TASKS)
    found = captions.at(answer.media)
    shown = answer.said.better or ((answer.said.shown,) if answer.said.shown else ())
    if found.about.text_sha256 not in map(text_digest, shown):
        raise BadData("what was shown is not the caption that its video has now", cure=TASKS)
    return found


def _item(kind: Kind, **fields: Any) -> Feedback:
    """Raises BadMessage: no training could take it."""
    return decode(KINDS[kind], fields)
