import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.jobs.recipes import least_class
from producer.uploads.events import (
    S3Event,
    is_older,
    is_video_key,
    parse_notification,
    parts,
    possible_keys,
)
from producer.uploads.latest import REMEMBERED, Latest
from shared.errors import BadMessage, ConfigError

SUFFIXES = (".mp4", ".webm")
KEY = "a/My Photo+ü 한%20#.mp4"


def record(key: str, name: str = "ObjectCreated:Put", **more: Any) -> dict[str, Any]:
    entity = {"bucket": {"name": "videos"}, "object": {"key": key, "eTag": "e", "size": 3}}
    entity["object"].update(more)
    return {"eventSource": "aws:s3", "eventName": name, "s3": entity}


def notification(key: str, name: str = "ObjectCreated:Put", **more: Any) -> str:
    return json.dumps({"Records": [record(key, name, **more)]})


def by(source: str, key: str) -> str:
    return json.dumps({"Records": [{**record(key), "eventSource": source}]})


def eventbridge(key: str, what: str = "Object Created") -> str:
    detail = {
        "version": "0",
        "bucket": {"name": "videos"},
        "object": {"key": key, "size": 3, "etag": "e", "version-id": "v", "sequencer": "0A"},
        "reason": "PutObject",
    }
    return json.dumps({"version": "0", "detail-type": what, "source": "aws.s3", "detail": detail})


def sns(inside: str) -> str:
    told = {"Type": "Notification", "TopicArn": "arn:aws:sns:…", "Message": inside}
    return json.dumps({**told, "Subject": "Amazon S3 Notification"})


def test_a_key_is_decoded_as_s3_encodes_it() -> None:
    (event,) = parse_notification(notification("a%2FMy+Photo%2B%C3%BC+%ED%95%9C.mp4"))
    assert (event.bucket, event.keys, event.kind) == ("videos", ("a/My Photo+ü 한.mp4",), "created")


@pytest.mark.parametrize(
    "body",
    [
        notification(quote_plus(KEY), versionId="v", sequencer="0A"),
        notification(quote(KEY), versionId="v", sequencer="0A"),  # S3 leaves the slash alone
        sns(notification(quote_plus(KEY), versionId="v", sequencer="0A")),
        eventbridge(KEY),
        sns(eventbridge(KEY)),
    ],
)
def test_each_way_to_sqs_says_the_same(body: str) -> None:
    assert parse_notification(body) == [S3Event("created", "videos", (KEY,), "e", 3, "v", "0A")]


@pytest.mark.parametrize("source", ["minio:s3", "ceph:s3"])
def test_who_may_have_encoded_a_key_or_not_is_not_guessed_at(source: str) -> None:
    def keys(told: str) -> tuple[str, ...]:
        return parse_notification(by(source, told))[0].keys

    assert keys("plain/key.mp4") == ("plain/key.mp4",)
    assert keys("a+b%20c.mp4") == ("a b c.mp4", "a+b%20c.mp4")
    # Encoding leaves no spaces, no Korean, and no percent sign alone.
    for raw in ("a b+c.mp4", "한+국.mp4", "100%+1.mp4"):
        assert keys(raw) == (raw,)


@given(st.text(min_size=1))
def test_the_true_key_is_always_among_the_possible_ones(key: str) -> None:
    with suppress(UnicodeEncodeError):  # half of a pair of surrogates is no key
        assert key in possible_keys(quote_plus(key), always_encoded=True)
        assert key in possible_keys(quote_plus(key), always_encoded=False)
        assert key in possible_keys(key, always_encoded=False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ObjectCreated:CompleteMultipartUpload", "created"),
        ("s3:ObjectCreated:Copy", "created"),
        ("ObjectRemoved:Delete", "removed"),
        ("s3:ObjectRemoved:DeleteMarkerCreated", "removed"),
        ("ObjectTagging:Put", "other"),
        ("ReducedRedundancyLostObject", "other"),
    ],
)
def test_the_kind_of_event(name: str, kind: str) -> None:
    assert parse_notification(notification("k", name))[0].kind == kind


def test_the_kinds_of_eventbridge() -> None:
    def kind(what: str, **more: str) -> str:
        body = json.loads(eventbridge("k", what))
        body["detail"].update(more)
        return parse_notification(json.dumps(body))[0].kind

    how = "deletion-type"
    assert kind("Object Deleted", **{how: "Delete Marker Created"}) == "removed"
    assert kind("Object Deleted", **{how: "Permanently Deleted"}) == "version_removed"
    assert kind("Object Restore Completed") == "restored"
    assert kind("Object Restore Initiated") == "other"


@pytest.mark.parametrize(
    ("name", "version", "kind"),
    [
        ("ObjectRemoved:Delete", None, "removed"),
        ("s3:ObjectRemoved:DeleteMarkerCreated", "v", "removed"),
        ("ObjectRemoved:Delete", "v", "version_removed"),
        ("s3:ObjectRestore:Completed", "v", "restored"),
        ("ObjectRestore:Post", None, "other"),
    ],
)
def test_only_what_ends_a_key_removes_it(name: str, version: str | None, kind: str) -> None:
    assert parse_notification(notification("k", name, versionId=version))[0].kind == kind


@pytest.mark.parametrize(
    "body",
    [
        notification("k\ud800.mp4"),
        notification("k" * 1025),
        notification(""),
        notification("k", size=-1),
        notification("k", size=10**30),
        notification("k").replace('"size": 3', '"size": 1e999'),
        notification("k", eTag="e\n"),
        notification("k", versionId="버전"),
        notification("k").replace('"videos"', '"no/bucket"'),
        notification("k").replace('"videos"', '"https:host"'),
    ],
)
def test_what_no_object_can_have_is_malformed(body: str) -> None:
    with pytest.raises(BadMessage):
        parse_notification(body)


def test_several_records_are_told_apart() -> None:
    one, two = record("a"), record("b")
    body = json.dumps({"Records": [one, two]})
    for told in (body, sns(body)):
        assert [parse_notification(part)[0].key for part in parts(told)] == ["a", "b"]
    for whole in (notification("a"), eventbridge("a"), "{broken eventName eventName", "3"):
        assert parts(whole) == [whole]


def test_what_may_be_missing_is_missing_and_no_error() -> None:
    told = {"eventName": "s3:ObjectCreated:Put"}
    told["s3"] = {"bucket": {"name": "b"}, "object": {"key": "k", "versionId": ""}}  # type: ignore[assignment]
    (event,) = parse_notification(json.dumps({"Records": [told]}))
    assert (event.etag, event.size_bytes, event.version_id, event.sequencer) == (
        None,
        None,
        None,
        "",
    )


@pytest.mark.parametrize(
    "body",
    [
        '{"Service":"Amazon S3","Event":"s3:TestEvent"}',
        sns('{"Service":"Amazon S3","Event":"s3:TestEvent"}'),
        '{"Type":"SubscriptionConfirmation","SubscribeURL":"https://…"}',
        '{"Records":[]}',
    ],
)
def test_the_test_event_of_a_new_notification_is_nothing(body: str) -> None:
    assert parse_notification(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"Records":[{"s3":{}}]}',
        '{"Records":[1]}',
        '{"Type":"Notification"}',
        '{"Type":"Notification","Message":"no json"}',
        '{"detail-type":"Object Created","detail":{}}',
        notification("k", size="much"),
        notification("k", eTag=5),
        json.dumps({"Records": [{**record("k"), "eventName": None}]}),
        "[" * 100_000,
    ],
)
def test_anything_else_is_malformed(body: str) -> None:
    with pytest.raises(BadMessage):
        parse_notification(body)


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_body_does_anything_but_parse_or_be_malformed(body: str) -> None:
    with suppress(BadMessage):
        parse_notification(body)


def test_sequencers_are_padded_at_their_right() -> None:
    assert is_older("0055AED6DCD90281E5", "0055AED6DCD90281E6")
    assert is_older("0A", "0a1")
    assert not is_older("0B", "0A99")
    assert not is_older("0A", "0A00")  # the same
    assert not is_older("", "0A")
    assert not is_older("0A", "")


@pytest.mark.parametrize(
    ("source", "told", "order"),
    [
        ("aws:s3", "0055AED6DCD90281E5", "0055AED6DCD90281E5"),
        ("aws:s3", "12 of 13", ""),
        # Two that a Ceph RGW 16.2.15 sent in this order, 62 ms apart.
        ("ceph:s3", "CFD80B6BDDDE921D", ""),
        ("ceph:s3", "CFD80B6B65A55521", ""),
        ("minio:s3", "18A2C3D4E5F60718", ""),
    ],
)
def test_only_an_order_that_can_be_trusted_is_one(source: str, told: str, order: str) -> None:
    body = {"Records": [{**record("k", sequencer=told), "eventSource": source}]}
    (event,) = parse_notification(json.dumps(body))
    assert event.sequencer == order


def event(sequencer: str = "", key: str = "k") -> S3Event:
    return S3Event("created", "b", (key,), sequencer=sequencer)


def test_duplicates_and_stragglers_are_no_news() -> None:
    latest = Latest()
    assert latest.verdict(event("05"), "k", "one") == "news"
    latest.remember(event("05"), "k", "one")
    assert latest.verdict(event("05"), "k", "one") == "duplicate"
    # The same content again: another listener may have seen what lay there in between.
    assert latest.verdict(event("06"), "k", "one") == "news"
    assert latest.verdict(event("04"), "k", "zero") == "stale"
    assert latest.verdict(event("06"), "k", "two") == "news"
    assert latest.verdict(event(""), "k", "two") == "unordered"
    assert latest.verdict(event(""), "k", "one") == "duplicate"
    latest.remember(event("07"), "k", "")  # deleted
    assert latest.verdict(event("06"), "k", "two") == "stale"
    assert latest.verdict(event("08"), "k", "two") == "news"


def test_only_so_much_is_remembered() -> None:
    latest = Latest()
    for number in range(REMEMBERED + 1):
        latest.remember(event(key=str(number)), str(number), "v")
    assert latest.verdict(event(key="0"), "0", "v") == "news"
    assert latest.verdict(event(key="1"), "1", "v") == "duplicate"


def test_videos_are_known_by_their_ending() -> None:
    assert is_video_key("a/B.MP4", SUFFIXES)
    assert not is_video_key("a/b.txt", SUFFIXES)
    assert not is_video_key("folder.mp4/", SUFFIXES)


def test_the_least_class_follows_from_the_frames() -> None:
    assert least_class(None, None) == "t4"
    assert least_class(None, 5) == "l4"
    assert least_class("h100", 8) == "h100"
    for card, frames in (("t4", 8), (None, 33), ("cpu", None), ("tpu", None)):
        with pytest.raises(ConfigError):
            least_class(card, frames)


@pytest.mark.parametrize(
    ("at", "seconds"),
    [
        ("2026-11-29T18:00:00.250Z", 1795975200.25),
        ("2026-11-29T18:00:00Z", 1795975200.0),
        ("1970-01-01T00:00:00.000Z", None),  # before S3
        ("2026-11-29T18:00:00", None),
        ("soon", None),
        ("", None),
        (17, None),
        (None, None),
    ],
)
def test_when_it_happened_is_told_where_it_is_said(at: object, seconds: float | None) -> None:
    body = json.dumps({"Records": [{**record(KEY), "eventTime": at}]})
    assert parse_notification(body)[0].at_s == seconds
    (event,) = parse_notification(json.dumps({**json.loads(eventbridge(KEY)), "time": at}))
    assert event.at_s == seconds
