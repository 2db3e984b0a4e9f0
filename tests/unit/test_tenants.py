"""Whose a video is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigError
from shared.prefixes import innermost
from shared.settings import load_settings
from shared.tenants import OTHER, Tenants

TOLD = {
    "s3://a/": "news:3",
    "s3://a/films/": "films",
    "s3://b/day=1/": "news",
    "https://example.com/c/": "films",
}


@pytest.mark.parametrize(
    ("uri", "tenant"),
    [
        ("s3://a/x.mp4", "news"),
        ("s3://a/films/x.mp4", "films"),  # the longest counts
        ("s3://a/films-2/x.mp4", "news"),  # whole path segments
        ("s3://ab/x.mp4", OTHER),
        ("s3://b/day=1/x.mp4", "news"),
        ("s3://b/x.mp4", OTHER),
        ("https://example.com/c/x.mp4", "films"),
        ("https://example.com/d/x.mp4", OTHER),
    ],
)
def test_a_video_belongs_to_the_longest_prefix(uri: str, tenant: str) -> None:
    assert Tenants(TOLD).of(uri) == tenant


_PLACES = st.text("ab/", max_size=6).map("s3://{}".format)


@given(st.dictionaries(_PLACES.filter(lambda one: one != "s3://"), st.sampled_from("xyz")), _PLACES)
def test_each_place_is_compared_by_whole_segments(told: dict[str, str], uri: str) -> None:
    place = innermost(uri, told)
    assert Tenants(told).of(uri) == (OTHER if place is None else told[place])


def test_a_weight_is_said_once_and_holds_for_every_prefix() -> None:
    assert Tenants(TOLD).weights == {"news": 3.0, "films": 1.0, OTHER: 1.0}
    assert Tenants({"s3://a/": "other:0.5"}).weights == {OTHER: 0.5}
    assert Tenants({}).weights == {OTHER: 1.0}


@pytest.mark.parametrize(
    "text",
    ["s3://a/day=1/=news:3,s3://b/=films", '{"s3://a/day=1/": "news:3", "s3://b/": "films"}'],
)
def test_tenants_are_pairs_or_json(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_TENANTS", text)
    assert load_settings().tenants == {"s3://a/day=1/": "news:3", "s3://b/": "films"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://a/", "no pair such as s3://bucket/prefix/=name"),
        ("a=news", "'a' is no prefix of videos"),
        ("s3://=news", "'s3://' is no prefix of videos"),
        ("s3://a/=News", "'News' is no name of a tenant"),
        ("s3://a/=", "'' is no name of a tenant"),
        ("s3://a/=news:0", "'0' is no weight of a tenant"),
        ("s3://a/=news:nan", "'nan' is no weight of a tenant"),
        ("s3://a/=news:1e-17", "'1e-17' is no weight of a tenant"),
        ("s3://a/=news:1001", "'1001' is no weight of a tenant"),
        ("s3://a/=news:inf", "'inf' is no weight of a tenant"),
        ("s3://a/=news:many", "'many' is no weight of a tenant"),
        ("s3://a/=news:2,s3://b/=news:3", "news has two weights: 2 and 3"),
    ],
)
def test_what_is_no_tenant_is_refused_with_the_form(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAMAK_TENANTS", text)
    with pytest.raises(
        ConfigError, match=rf"JAMAK_TENANTS: .*{said}.*write s3://bucket/prefix/=name"
    ):
        load_settings()
