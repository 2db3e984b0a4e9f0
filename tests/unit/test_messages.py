import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.jobs.recipes import recipe_of
from shared.errors import BadMessage, NewerMessage
from shared.messages import CaptionJob, Decoding, Recipe, Sampling, Video, decode, digest
from shared.settings import Settings
from shared.training import TrainJob
from tests.training import make_job

VIDEO = Video(bucket="videos", key="영상/a b.mp4", etag="abc", size_bytes=7)
RECIPE = Recipe(prompt="USER: <video>? ASSISTANT:", model="m", revision="r")


def test_a_job_survives_the_road() -> None:
    job = CaptionJob(video=VIDEO, recipe=RECIPE, card="l4")
    assert decode(CaptionJob, job.model_dump_json()) == job
    assert decode(CaptionJob, job.model_dump(mode="json")) == job


def test_identity_never_changes_between_releases() -> None:
    """These values name objects in people's buckets: a change here orphans them."""
    assert VIDEO.video8 == "29d9e2de"
    assert RECIPE.id == "b6b73952f70a"


def test_a_version_id_only_pins_the_read() -> None:
    assert VIDEO.model_copy(update={"version_id": "v1"}).video8 == VIDEO.video8


@pytest.mark.parametrize(
    "change", [{"bucket": "b"}, {"key": "b.mp4"}, {"etag": "abd"}, {"size_bytes": 8}]
)
def test_all_else_makes_another_video(change: dict[str, object]) -> None:
    assert VIDEO.model_copy(update=change).video8 != VIDEO.video8


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "USER: <video>! ASSISTANT:"},
        {"sampling": Sampling(frames=8)},
        {"model": "n"},
        {"revision": "s"},
        {"decoding": Decoding(max_new_tokens=9)},
        {"decoding": Decoding(language="ko")},
        {"decoding": Decoding(draw=0)},
        {"generation": 1},
    ],
)
def test_whatever_changes_the_question_makes_another_recipe(change: dict[str, object]) -> None:
    assert RECIPE.model_copy(update=change).id != RECIPE.id


def test_the_card_is_no_part_of_what_is_asked() -> None:
    small = CaptionJob(video=VIDEO, recipe=RECIPE, card="t4")
    assert small.id == CaptionJob(video=VIDEO, recipe=RECIPE, card="h100").id


def test_a_message_from_the_future_is_left_alone() -> None:
    payload = CaptionJob(video=VIDEO, recipe=RECIPE).model_dump(mode="json")
    with pytest.raises(NewerMessage, match="version 7"):
        decode(CaptionJob, payload | {"v": 7, "something": "new"})


def test_a_message_of_the_version_before_is_read() -> None:
    payload = CaptionJob(video=VIDEO, recipe=RECIPE).model_dump(mode="json")
    del payload["address"], payload["recipe"]["sampling"]["segments"]
    job = decode(CaptionJob, payload | {"v": 2})
    assert (job.video, job.address, job.recipe.sampling.segments) == (VIDEO, None, None)


def test_what_is_older_than_the_language_lock_is_not_held_to_one() -> None:
    payload = CaptionJob(video=VIDEO, recipe=RECIPE).model_dump(mode="json")
    del payload["recipe"]["decoding"]["language"]
    job = decode(CaptionJob, payload | {"v": 3})
    assert job.recipe.decoding.language == "any"
    assert job.recipe.id == RECIPE.id
    assert recipe_of(Settings()).decoding.language == "ko"


def test_what_is_older_than_draws_asks_for_the_caption() -> None:
    payload = CaptionJob(video=VIDEO, recipe=RECIPE).model_dump(mode="json")
    del payload["recipe"]["decoding"]["draw"]
    job = decode(CaptionJob, payload | {"v": 5})
    assert (job.recipe.decoding.draw, job.recipe.id) == (None, RECIPE.id)


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ("{", "not JSON"),
        ("[]", "message"),
        (None, "message"),
        ({"v": 1}, "video"),
        ({"v": "x", "video": 1, "recipe": 2}, "v:"),
    ],
)
def test_the_malformed_names_its_first_fault(payload: object, fault: str) -> None:
    with pytest.raises(BadMessage, match=fault):
        decode(CaptionJob, payload)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {**RECIPE.model_dump(mode="json"), "generation": 2**31}},  # newest for ever
        {"recipe": {**RECIPE.model_dump(mode="json"), "generation": -1}},
        {"backlog": {"name": "a/../b", "line": 1}},
        {"backlog": {"name": "", "line": 1}},
    ],
)
def test_what_a_name_or_a_number_may_be_is_bounded(change: dict[str, object]) -> None:
    payload = CaptionJob(video=VIDEO, recipe=RECIPE).model_dump(mode="json")
    with pytest.raises(BadMessage):
        decode(CaptionJob, payload | change)


@pytest.mark.parametrize("name", ["", "a/decision", "..", "a b", "x" * 101, "a\n"])
def test_the_id_of_a_training_is_a_part_of_keys(name: str) -> None:
    with pytest.raises(BadMessage):
        decode(TrainJob, make_job().model_dump(mode="json") | {"id": name})


def test_an_unknown_field_is_malformed() -> None:
    payload = CaptionJob(video=VIDEO, recipe=RECIPE).model_dump(mode="json")
    with pytest.raises(BadMessage, match="colour"):
        decode(CaptionJob, payload | {"colour": "blue"})


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(list(value.items()))))


@pytest.mark.parametrize("number", [-1, 2**53, 10**30, float("inf"), float("nan")])
@pytest.mark.parametrize("where", ["size_bytes", "generation", "temperature", "v"])
def test_a_number_that_not_everybody_can_count_is_no_message(where: str, number: float) -> None:
    job = CaptionJob(
        video=Video(bucket="b", key="k.mp4", etag="e", size_bytes=2**53 - 1),
        recipe=Recipe(prompt="p", model="m", revision="r"),
    )
    told = job.model_dump(mode="json")
    assert decode(CaptionJob, told) == job
    inside = {
        "size_bytes": told["video"],
        "generation": told["recipe"],
        "temperature": told["recipe"]["decoding"],
        "v": told,
    }
    if where == "temperature" and number in (2**53, 10**30):
        return  # a float has no such bound
    inside[where][where] = number
    with pytest.raises(BadMessage):
        decode(CaptionJob, json.dumps(told))
