"""Small guarantees that no other test would notice the loss of: see benchmarks.mutants."""

import sys
import threading

import pytest
import redis

from shared import telemetry
from shared.bucket.formats import to_srt, to_vtt
from shared.bucket.keys import MAX_KEY_BYTES
from shared.errors import ConfigError
from shared.messages import BacklogLine, CaptionJob, Recipe, Video
from shared.prompts import BASE_PROMPT, DETAILED_PROMPT, check_prompt
from shared.settings import Settings
from tests.backlogs import caption_of
from workers.delivery.outbox import Outbox
from workers.model.loading import load_model

QUIET = telemetry.Repeated(telemetry.get_logger("test"), "over")


def test_s3_allows_1024_bytes_of_a_key() -> None:
    assert MAX_KEY_BYTES == 1024


def test_the_longest_prefix_sends_a_videos_captions() -> None:
    settings = Settings(
        outputs={"s3://v/": "s3://all/", "s3://v/a/b/": "s3://deep/x/", "s3://v/a/": "s3://a/"}
    )
    assert settings.output_of("v", "a/b/c.mp4") == ("deep", "x/")
    assert settings.output_of("v", "a/c.mp4") == ("a", "")
    assert settings.output_of("v", "c.mp4") == ("all", "")
    assert settings.output_of("w", "a/b/c.mp4") == ("jamak-output", "")


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("USER: 묘사해주세요. ASSISTANT:", "<video> 0 times"),
        ("USER: <video><video> 묘사해주세요. ASSISTANT:", "<video> 2 times"),
        ("USER: <video><image> 묘사해주세요. ASSISTANT:", "<image>"),
        ("USER: <video> 묘사해주세요. ASSISTANT: ", "does not end"),
    ],
)
def test_the_rules_of_prompts(prompt: str, named: str) -> None:
    for good in (BASE_PROMPT, DETAILED_PROMPT):
        assert check_prompt(good) == good
    with pytest.raises(ConfigError, match=named):
        check_prompt(prompt)


def test_an_empty_line_does_not_end_a_cue() -> None:
    recipe = Recipe(prompt=BASE_PROMPT, model="m", revision="r")
    video = Video(bucket="b", key="k.mp4", etag="e", size_bytes=1)
    caption = caption_of(CaptionJob(video=video, recipe=recipe))
    spoken = caption.model_copy(update={"text": "하나\n\n \n둘"})
    for written in (to_vtt(spoken), to_srt(spoken)):
        assert written.decode().endswith("\n하나\n둘\n")


def test_what_redis_could_not_hear_it_is_told_later() -> None:
    heard: list[str] = []
    away, done = threading.Event(), threading.Event()

    def first() -> None:
        if not away.is_set():
            away.set()
            raise redis.ConnectionError("away")
        heard.append("first")

    def second() -> None:
        heard.append("second")
        done.set()

    outbox = Outbox(None, QUIET)  # type: ignore[arg-type]  # nothing is acknowledged here
    outbox.tell(first)
    outbox.tell(second)
    assert done.wait(30)
    assert outbox.flush(30)
    assert heard == ["first", "second"]


class Refusing:
    """Redis, where some acknowledgements are refused."""

    def __init__(self, refused: set[str]) -> None:
        self.refused = refused
        self.heard: list[str] = []

    def ack(self, leases: list[str], events: object) -> None:
        if self.refused.intersection(leases):
            raise redis.ResponseError("bit offset is not an integer or out of range")
        self.heard += leases


def test_what_redis_refuses_for_good_holds_nothing_up() -> None:
    queues = Refusing({"b"})
    outbox = Outbox(queues, QUIET)  # type: ignore[arg-type]  # nothing else of it is asked
    untold = telemetry.UNTOLD._value.get()
    held = threading.Event()
    outbox.tell(held.wait)  # so that they are told together
    for lease in "abc":
        outbox.ack(lease)
    held.set()
    assert outbox.flush(30)
    assert queues.heard == ["a", "c"]
    assert telemetry.UNTOLD._value.get() == untold + 1


@pytest.mark.parametrize(
    "refusal",
    [
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.MasterDownError("Link with MASTER is down"),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
    ],
)
def test_a_refusal_that_passes_is_told_again_and_holds_nothing_up(
    refusal: redis.ResponseError,
) -> None:
    heard: list[str] = []

    def first() -> None:
        if "second" not in heard:
            raise refusal
        heard.append("first")

    outbox = Outbox(None, QUIET)  # type: ignore[arg-type]  # nothing is acknowledged here
    outbox.tell(first)
    outbox.tell(lambda: heard.append("second"))
    assert outbox.flush(30)
    assert heard == ["second", "first"]


def test_acknowledgements_that_are_refused_for_now_are_told_again_together() -> None:
    asked: list[list[str]] = []

    class Replica:
        def ack(self, leases: list[str], events: object) -> None:
            asked.append(leases)
            if len(asked) == 1:
                raise redis.exceptions.ReadOnlyError("You can't write against a replica.")

    outbox = Outbox(Replica(), QUIET)  # type: ignore[arg-type]  # nothing else of it is asked
    held = threading.Event()
    outbox.tell(held.wait)  # so that they are told together
    for lease in "ab":
        outbox.ack(lease)
    held.set()
    assert outbox.flush(30)
    assert asked == [["a", "b"], ["a", "b"]]


def test_a_line_that_redis_cannot_count_is_no_message() -> None:
    assert BacklogLine(name="a", line=2**32 - 1)
    with pytest.raises(ValueError, match="4294967296"):
        BacklogLine(name="a", line=2**32)


def test_four_bits_without_their_library_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the environment of `make demo`."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="bitsandbytes") as caught:
        load_model("nowhere", model_id="m", quantized=True)
    assert "jamak[worker]" in caught.value.cure
