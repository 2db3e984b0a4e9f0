import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.enqueue import least_class
from producer.events import is_video_key, parse_notification
from shared.errors import BadMessage, ConfigError

SUFFIXES = (".mp4", ".webm")


def notification(key: str, name: str = "ObjectCreated:Put") -> str:
    entity = {"bucket": {"name": "videos"}, "object": {"key": key, "eTag": "e", "size": 3}}
    return json.dumps({"Records": [{"eventName": name, "s3": entity}]})


def test_a_key_is_decoded_as_s3_encodes_it() -> None:
    (event,) = parse_notification(notification("a%2FMy+Photo%2B%C3%BC+%ED%95%9C.mp4"))
    assert (event.bucket, event.key, event.kind) == ("videos", "a/My Photo+ü 한.mp4", "created")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ObjectCreated:CompleteMultipartUpload", "created"),
        ("s3:ObjectCreated:Copy", "created"),
        ("ObjectRemoved:Delete", "other"),
    ],
)
def test_the_kind_of_event(name: str, kind: str) -> None:
    assert parse_notification(notification("k", name))[0].kind == kind


def test_the_test_event_of_a_new_notification_is_nothing() -> None:
    assert parse_notification('{"Service":"Amazon S3","Event":"s3:TestEvent"}') == []


@pytest.mark.parametrize("body", ["", "null", "[]", "{}", '{"Records":[{"s3":{}}]}'])
def test_anything_else_is_malformed(body: str) -> None:
    with pytest.raises(BadMessage):
        parse_notification(body)


@given(st.text())
def test_no_body_does_anything_but_parse_or_be_malformed(body: str) -> None:
    with suppress(BadMessage):
        parse_notification(body)


def test_videos_are_known_by_their_ending() -> None:
    assert is_video_key("a/B.MP4", SUFFIXES)
    assert not is_video_key("a/b.txt", SUFFIXES)
    assert not is_video_key("folder.mp4/", SUFFIXES)


def test_the_least_class_follows_from_the_frames() -> None:
    assert least_class(None, None) == "t4"
    assert least_class(None, 5) == "l4"
    assert least_class("h100", 8) == "h100"
    for card, frames in (("t4", 8), (None, 33), ("cpu", None)):
        with pytest.raises(ConfigError):
            least_class(card, frames)  # type: ignore[arg-type]
