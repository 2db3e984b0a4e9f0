import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bucket.keys import (
    MAX_KEY_BYTES,
    MAX_SEGMENT_BYTES,
    failure_key,
    parse_uri,
    part_key,
    parts_folder,
    place_of,
    record_key,
    view_key,
)
from shared.errors import ConfigError
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
        assert max(len(part.encode()) for part in made.split("/")) <= MAX_SEGMENT_BYTES


@given(keys, keys)
def test_two_videos_never_share_a_record_or_a_view(one: str, other: str) -> None:
    same = one == other
    assert (record_key("", job(one)) == record_key("", job(other))) is same
    assert (view_key("", "b", one, ".json") == view_key("", "b", other, ".json")) is same


def test_two_contents_under_one_key_have_two_records() -> None:
    assert record_key("", job("a.mp4", "one")) != record_key("", job("a.mp4", "two"))


@pytest.mark.parametrize("letter", ["a", "한", "🎬"])
@pytest.mark.parametrize("folders", [0, 3])
def test_the_longest_keys_are_hashed_at_the_limit_and_not_before(letter: str, folders: int) -> None:
    """Of 1,024 bytes in all, and of 255 between two slashes."""
    size, before = len(letter.encode()), "f" * 252 + "/"
    room = MAX_SEGMENT_BYTES - len(".json")
    if folders:
        room = MAX_KEY_BYTES - len("captions/b/.json") - folders * len(before)
    fits = before * folders + "a" * (room % size) + letter * (room // size)
    assert view_key("", "b", fits, ".json") == f"captions/b/{fits}.json"
    assert "/~/" in view_key("", "b", fits + "x", ".json")
    assert "/~/" in record_key("", job(fits))


def test_a_folder_may_be_too_long_as_well() -> None:
    key = f"{'가' * 86}/a.mp4"
    assert view_key("", "b", key, ".vtt").startswith("captions/b/~/")
    assert part_key("", job(key), "0001").startswith(f"parts/videos/{RECIPE.id}/~/")
    assert parts_folder("", job(key).video) in part_key("", job(key), "cuts")


@pytest.mark.parametrize("key", ["한국어 영상.mp4", "a+b%20#?.mp4", "🎬.mp4", "/leading.mp4", ""])
def test_an_address_gives_back_its_key(key: str) -> None:
    assert parse_uri(f"s3://videos/{key}") == ("videos", key)


@pytest.mark.parametrize(
    "uri",
    ["videos/a.mp4", "s3://", "s3:///a", "http://videos/a", "s3://my bucket/a", "s3://영상/a"],
)
def test_what_is_no_address_is_refused_and_the_argument_is_named(uri: str) -> None:
    with pytest.raises(ConfigError, match="--to"):
        parse_uri(uri, "--to")
    with pytest.raises(ConfigError):
        parse_uri(uri)


def test_what_only_opens_an_address_is_not_in_its_key() -> None:
    plain = ("https:h.example", "a b/c.mp4")
    for address in (
        "https://h.example/a%20b/c.mp4",
        "https://H.example//a%20b/c.mp4#t=10",
        "https://user:secret@h.example/a b/c.mp4",
        "https://h.example/a b/c.mp4?X-Amz-Signature=1&X-Amz-Expires=3600&x-id=GetObject",
        "https://h.example/a b/c.mp4?AWSAccessKeyId=a&Signature=1&Expires=9",
        "https://h.example/a b/c.mp4?X-Goog-Signature=1&x-goog-date=2",
        "https://h.example/a b/c.mp4?Policy=p&Signature=s&Key-Pair-Id=k",
        "https://h.example/a b/c.mp4?sv=2024-11-04&se=2026&sr=b&sp=r&skoid=1&sig=s%3D",
    ):
        assert place_of(address) == plain
    assert place_of("file:///videos//x/../a%20b.mp4") == ("file:", "videos/a b.mp4")


def test_addresses_that_differ_in_their_query_are_different_videos() -> None:
    bucket, first = place_of("https://h/get?id=1&lang=ko")
    assert (bucket, first[:4], len(first)) == ("https:h", "get~", 20)
    assert place_of("https://h/get?lang=ko&id=1&X-Amz-Signature=secret") == (bucket, first)
    others = {place_of(f"https://h/get{rest}")[1] for rest in ("", "?id=2", "?id=1", "?se=1")}
    assert len(others | {first}) == 5


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError):
        place_of("https://[::1/a.mp4")
