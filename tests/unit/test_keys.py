import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigError
from shared.keys import MAX_KEY_BYTES, failure_key, parse_uri, record_key, view_key
from shared.messages import CaptionJob, Recipe, Video

RECIPE = Recipe(prompt="p", model="m", revision="r")

keys = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(lambda key: len(key.encode()) <= MAX_KEY_BYTES)


def job(key: str, etag: str = "e") -> CaptionJob:
    video = Video(bucket="videos", key=key, etag=etag, size_bytes=1)
    return CaptionJob(video=video, recipe=RECIPE)


def test_the_layout_is_what_the_docs_say() -> None:
    one = job("a/b.mp4")
    tail = f"videos/{RECIPE.id}/a/b.mp4.{one.video.video8}.json"
    assert record_key("out/", one) == f"out/records/{tail}"
    assert failure_key("out/", one) == f"out/failures/{tail}"
    assert view_key("out/", "videos", "a/b.mp4", ".vtt") == "out/captions/videos/a/b.mp4.vtt"


@given(keys)
def test_every_key_fits_whatever_the_video_is_called(key: str) -> None:
    for made in (
        record_key("prefix/", job(key)),
        failure_key("prefix/", job(key)),
        view_key("prefix/", "videos", key, ".json"),
    ):
        assert len(made.encode()) <= MAX_KEY_BYTES


@given(keys, keys)
def test_two_videos_never_share_a_record_or_a_view(one: str, other: str) -> None:
    same = one == other
    assert (record_key("", job(one)) == record_key("", job(other))) is same
    assert (view_key("", "b", one, ".json") == view_key("", "b", other, ".json")) is same


def test_two_contents_under_one_key_have_two_records() -> None:
    assert record_key("", job("a.mp4", "one")) != record_key("", job("a.mp4", "two"))


@pytest.mark.parametrize("letter", ["a", "한", "🎬"])
def test_the_longest_keys_are_hashed_at_the_limit_and_not_before(letter: str) -> None:
    size = len(letter.encode())
    longest = letter * (MAX_KEY_BYTES // size)
    assert "/~/" in record_key("", job(longest))
    room = MAX_KEY_BYTES - len("captions/b/.json")
    fits = "a" * (room % size) + letter * (room // size)
    assert view_key("", "b", fits, ".json") == f"captions/b/{fits}.json"
    assert "/~/" in view_key("", "b", fits + "x", ".json")


@pytest.mark.parametrize("key", ["한국어 영상.mp4", "a+b%20#?.mp4", "🎬.mp4", "/leading.mp4", ""])
def test_an_address_gives_back_its_key(key: str) -> None:
    assert parse_uri(f"s3://videos/{key}") == ("videos", key)


@pytest.mark.parametrize("uri", ["videos/a.mp4", "s3://", "s3:///a", "http://videos/a"])
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError):
        parse_uri(uri)
