"""Which captions a condition means, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from producer.backlog.captioned import Kind
from producer.backlog.where import fits, parse, shown
from shared.errors import UsageError
from shared.messages import AdapterUsed, Segment
from tests.records import caption

OLD, NEW, TRIED = "a" * 12, "b" * 12, "c" * 12
TOLD = caption("빨간 원")
DAY = datetime(2026, 11, 23, tzinfo=UTC)


def used(version: str | None) -> AdapterUsed | None:
    return AdapterUsed(version=version, generation=1) if version else None


def part(version: str | None, text: str = "빨간 원") -> Segment:
    return Segment(
        start_s=0,
        end_s=1,
        text=text,
        flags=(),
        frames=TOLD.frames,
        tokens=TOLD.tokens,
        adapter=used(version),
    )


def is_meant(text: str, **told: Any) -> bool:
    active = {"0": {NEW, TRIED}}
    return fits(parse(text), TOLD.model_copy(update=told), active.__getitem__)


@pytest.mark.parametrize(
    ("version", "meant"),
    [
        (OLD, {"adapter!=active", f"adapter={OLD}", f"adapter!={NEW}", "adapter!=none"}),
        (NEW, {"adapter=active", f"adapter={NEW}", f"adapter!={OLD}", "adapter!=none"}),
        (TRIED, {"adapter=active", f"adapter!={OLD}", f"adapter!={NEW}", "adapter!=none"}),
        (None, {"adapter!=active", "adapter=none", f"adapter!={OLD}", f"adapter!={NEW}"}),
    ],
)
def test_an_adapter_is_one_or_the_one_in_use_or_none(version: str | None, meant: set[str]) -> None:
    values = ("active", "none", OLD, NEW)
    asked = {f"adapter{sign}{value}" for sign in ("=", "!=") for value in values}
    assert {one for one in asked if is_meant(one, adapter=used(version))} == meant


def test_one_part_of_a_long_video_is_enough() -> None:
    mixed = {"adapter": used(NEW), "segments": (part(OLD), part(NEW))}
    for one in (f"adapter={OLD}", f"adapter={NEW}", f"adapter!={NEW}", "adapter!=active"):
        assert is_meant(one, **mixed)
    # One that says nothing is by nobody.
    assert not is_meant("adapter!=active", adapter=used(NEW), segments=(part(NEW), part(OLD, "")))


def test_the_other_fields() -> None:
    flags = {"flags": ("repetitive", "damaged")}
    assert is_meant("flag=repetitive", **flags)
    assert is_meant("flag!=garbled", **flags)
    assert not is_meant("flag!=damaged", **flags)
    assert is_meant("status!=partial")
    assert not is_meant("card=t4")
    assert is_meant("card = cpu")
    assert is_meant("model=m")
    assert is_meant("model=m@r")
    assert is_meant("model!=m@s")
    recipe = "0123456789ab"
    assert is_meant(f"recipe={recipe}", recipe_id=recipe)
    assert not is_meant(f"recipe!={recipe}", recipe_id=recipe)
    # All must hold.
    assert is_meant("status=ok and card=cpu and adapter=none")
    assert not is_meant("status=ok and card=t4 and adapter=none")


def test_a_date_is_of_utc_and_itself_is_not_before_it() -> None:
    assert is_meant("made>=2026-11-23", created_at=DAY)
    assert not is_meant("made<2026-11-23", created_at=DAY)
    assert is_meant("made<2026-11-23", created_at=DAY - timedelta(seconds=1))
    assert is_meant("made<2026-11-23T00:00:01", created_at=DAY)
    assert not is_meant("made<2026-11-23T09:00+09:00", created_at=DAY)


@pytest.mark.parametrize(
    ("text", "said", "cure"),
    [
        ("adaptor!=active", "no field 'adaptor'", "adapter, flag, status, card, model, recipe, ma"),
        ("adapter", "'adapter' is no condition", "a sign and a value"),
        ("adapter=", "'adapter=' is no condition", "a sign and a value"),
        ("adapter!=active or flag=hdr", "is no condition", "a sign and a value"),
        ("adapter<active", "adapter cannot be compared by '<'", "=, !="),
        ("made=2026-11-23", "made cannot be compared by '='", "<, >="),
        ("made<yesterday", "'yesterday' is no made", "2026-11-23T10:00"),
        ("adapter=best", "'best' is no adapter", "or active, or none"),
        ("flag=repetitve", "'repetitve' is no flag", "repetitive"),
        ("status=failed", "'failed' is no status", "ok, partial"),
        ("card=p100", "'p100' is no card", "t4, l4, a100, h100, cpu"),
        ("recipe=3f2a", "'3f2a' is no recipe", "12 characters"),
        ("status=ok and", "is no condition", "a sign and a value"),
    ],
)
def test_what_is_misspelt_is_refused_with_what_there_is(text: str, said: str, cure: str) -> None:
    with pytest.raises(UsageError, match="--where") as refused:
        parse(text)
    assert said in str(refused.value)
    assert cure in refused.value.cure


@pytest.mark.parametrize("under", ["", "s3://b/", "s3://b/이름 under s3://c/ where\nx"])
def test_a_kind_is_read_back_as_it_was_written(under: str) -> None:
    where = parse(" adapter != active and made>=2026-11-23T10:00+09:00 and model=a/b@c ")
    kind = Kind(where, under)
    assert Kind.of(kind.source) == kind
    assert parse(shown(where)) == where
