"""A trace's two headers, read where they stand in a message."""

import json

import pytest

from producer.jobs.send import messages
from shared.broker.leased_queues import Delivery, History
from shared.broker.transport import checked
from shared.messages import CaptionJob, Recipe, Video, decode
from shared.telemetry.trace_headers import Attempt, Carried, carried_by, headers_of

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7


def job(key: str) -> CaptionJob:
    video = Video(bucket="b", key=key, etag="e", size_bytes=1)
    return CaptionJob(video=video, recipe=Recipe(prompt="p", model="m", revision="r"))


def sent(key: str, flags: int = 1) -> bytes:
    (message,) = messages([job(key)], [headers_of(TRACE, SPAN, flags)])
    return message.encode()


def test_a_message_carries_its_trace_and_is_the_same_job() -> None:
    message = sent("k.mp4")
    assert carried_by(message) == Carried(TRACE, SPAN, 1, None)
    read = checked(Delivery("lease", "caption.t4", False, 0, History(), message))
    args, _, _ = json.loads(read["body"])
    assert decode(CaptionJob, args[0]) == job("k.mp4")
    assert read["headers"]["id"] == job("k.mp4").id
    assert "traceparent" not in read["body"]


def test_what_is_not_sampled_says_only_that() -> None:
    message = sent("k.mp4", flags=0)
    assert carried_by(message) == Carried(TRACE, SPAN, 0, None)
    assert b"tracestate" not in message


def test_who_had_it_last_stands_in_the_message() -> None:
    zeros, taken = b"jamak=" + b"0" * 16 + b"." + b"0" * 13 + b".+", b"1764400000123"
    told = b"jamak=00f067aa0ba902b8." + taken + b".x"
    carried = carried_by(sent("k.mp4").replace(zeros, told))
    assert carried is not None
    assert carried.last == Attempt(SPAN + 1, 1764400000.123, True, 0)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no JSON",
        b'{"headers": {}}',
        b'{"headers": {"traceparent": null}}',
        b'{"headers": {"traceparent": "00-%b-%b-01"}}' % (b"0" * 32, b"1" * 16),
        b'{"headers": {"traceparent": "00-%b-%b-01"}}' % (b"1" * 32, b"0" * 16),
        b'{"headers": {"traceparent": "00-zz-11-01"}}',
    ],
)
def test_what_is_no_trace_is_none(message: bytes) -> None:
    assert carried_by(message) is None


def test_a_key_that_looks_like_a_header_is_none() -> None:
    """What others chose to call their video lies about nothing."""
    lie = f'"traceparent": "00-{"1" * 32}-{"2" * 16}-01"'
    (plain,) = messages([job(lie)])
    assert carried_by(plain.encode()) is None
    assert carried_by(sent(lie)) == Carried(TRACE, SPAN, 1, None)
