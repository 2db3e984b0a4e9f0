"""What people say of a caption: what is feedback, and what is refused at the door."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from shared.errors import BadMessage, NewerMessage
from shared.feedback import (
    Correction,
    Preference,
    Thumb,
    about,
    feedback_name,
    feedback_schema,
    read_feedback,
    text_digest,
    written,
)
from shared.messages import decode
from tests.records import caption

PAGE = Path(__file__).parents[2] / "docs" / "feedback.schema.json"
ABOUT = about(caption("파란 공이 굴러갑니다."), "s3://out/records/b/x/k.json")
SAID: dict[str, Any] = {"about": ABOUT, "reviewer": "kim", "at": datetime(2026, 11, 30, tzinfo=UTC)}
ITEMS = [
    Thumb(up=False, **SAID),
    Preference(chosen="파란 공이 굴러갑니다.", rejected="개가 잡니다.", **SAID),
    Preference(chosen="빨간 공이 굴러갑니다.", rejected="파란 공이 굴러갑니다.", **SAID),
    Correction(text="빨간 공이 굴러갑니다.", **SAID),
]


def test_the_published_schema_is_what_the_classes_say() -> None:
    assert json.loads(PAGE.read_text()) == feedback_schema(), (
        "run: python -m shared.feedback > docs/feedback.schema.json"
    )


@pytest.mark.parametrize("item", ITEMS)
def test_what_is_written_follows_the_schema_and_is_read_again(item: Any) -> None:
    body = written(item)
    validator = Draft202012Validator(json.loads(PAGE.read_text()))
    validator.validate(json.loads(body))
    with pytest.raises(ValidationError):
        validator.validate(json.loads(body) | {"kind": "shrug"})
    assert read_feedback(body) == item
    assert len(feedback_name(body)) == 64


def test_each_is_a_vote_on_the_caption() -> None:
    assert [item.liked for item in ITEMS] == [False, True, False, False]


def test_one_text_in_two_forms_is_one_text() -> None:
    assert text_digest("각 ") == text_digest("\u1100\u1161\u11a8")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "correction", "text": "파란 공이 굴러갑니다. "}, "says already"),
        ({"kind": "correction", "text": " "}, "at least 1 character"),
        ({"kind": "correction", "text": "공</s>"}, "holds </s>"),
        ({"kind": "correction", "text": "공\x00"}, "holds U[+]0000"),
        ({"kind": "preference", "chosen": "개", "rejected": "소"}, "neither chosen nor rejected"),
        ({"kind": "preference", "chosen": "개", "rejected": "개"}, "the same text"),
        ({"kind": "thumb", "up": True, "down": False}, "down"),
        ({"kind": "thumb", "up": True, "at": "2026-11-30T08:00:00"}, "timezone"),
        ({"kind": "thumb", "up": True, "reviewer": " "}, "reviewer"),
        ({"kind": "shrug"}, "preference, thumb, correction"),
        ({}, "no known kind"),
    ],
)
def test_what_is_no_feedback_is_refused(changes: dict[str, Any], why: str) -> None:
    told = json.loads(written(ITEMS[0]))
    del told["kind"], told["up"]
    with pytest.raises(BadMessage, match=why):
        read_feedback(json.dumps(told | changes).encode())


@pytest.mark.parametrize("kind", ["thumb", "shrug"])
def test_what_a_newer_jamak_wrote_is_left_alone(kind: str) -> None:
    with pytest.raises(NewerMessage):
        read_feedback(json.dumps({"v": 2, "kind": kind}).encode())


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"3"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        read_feedback(body)


def test_what_is_nested_too_deeply_is_no_feedback() -> None:
    with pytest.raises(BadMessage, match="feedback is not JSON"):
        read_feedback(b"[" * 100_000)
    with pytest.raises(BadMessage, match="Thumb is not JSON"):
        decode(Thumb, "[" * 100_000)
