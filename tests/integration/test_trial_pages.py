"""What workers saw of a trial: written by many, read once each, whatever lies beside it."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.bucket.storage import ObjectStore
from shared.bucket.trials import TrialPages
from shared.trials import Observation, TrialPage
from tests.world import World

pytestmark = pytest.mark.integration

BASE = "a" * 64
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Counts(ObjectStore):
    """How often it is asked for an object."""

    read = 0

    def get_with_etag(self, *args: Any, **options: Any) -> Any:
        self.read += 1
        return super().get_with_etag(*args, **options)


@pytest.fixture
def place(world: World) -> World:
    return replace(world, redis_prefix=f"{world.redis_prefix}-{uuid.uuid4().hex[:6]}")


def pages_of(place: World, store: ObjectStore | None = None) -> TrialPages:
    return TrialPages(store or place.store, place.output, place.prefix, BASE)


def seen(number: int) -> Observation:
    return Observation(
        at=NOW + timedelta(seconds=number),
        arm="canary",
        record=f"{number:016x}",
        bad=("empty",) if number % 2 else (),
        syllables=number,
        published=True,
    )


def page(worker: str, *numbers: int, number: int = 0, refused: str = "") -> TrialPage:
    return TrialPage(
        generation=3,
        worker=worker,
        number=number,
        written_at=NOW,
        refused=refused,
        observations=tuple(map(seen, numbers)),
        jamak="0",
    )


def test_each_observation_is_read_once_and_only_what_changed_is_read(place: World) -> None:
    store = Counts()
    pages = pages_of(place, store)
    pages.write(page("one", 1, 2))
    pages.write(page("two-2", 10))
    pages.write(page("two-2", 11, number=1))
    first = pages.read_new(3, {})
    assert [one.syllables for one in first.observations] == [1, 2, 10, 11]
    assert first.observations[0] == seen(1)
    store.read = 0
    assert pages.read_new(3, first.cursor).observations == ()
    assert store.read == 0
    pages.write(page("one", 1, 2, 3))
    second = pages.read_new(3, first.cursor)
    assert [one.syllables for one in second.observations] == [3]
    assert store.read == 1
    assert pages.read_new(4, {}).observations == ()  # of another trial


def test_what_was_seen_in_an_older_trial_of_the_same_number_is_not_its_own(place: World) -> None:
    """A pointer that was deleted counts from 1 again."""
    pages = pages_of(place)
    pages.write(page("one", 1, 2, 30))
    pages.write(page("two", refused="half a file"))
    assert pages.read_new(3, {}, NOW).refused == {"two": "half a file"}
    news = pages.read_new(3, {}, NOW + timedelta(seconds=10))
    assert ([one.syllables for one in news.observations], news.refused) == ([30], {})


def test_what_cannot_be_read_waits_and_keeps_nobody(place: World) -> None:
    pages = pages_of(place)
    for name, body in (("bad-0.json", b"{"), ("new-0.json", b'{"v": 9}'), ("state.json", b"x")):
        place.store.put(place.output, pages.folder(3) + name, body)
    pages.write(page("one", 1))
    news = pages.read_new(3, {})
    assert [one.syllables for one in news.observations] == [1]
    assert len(news.unread) == 2
    pages.write(page("bad", 7))
    later = pages.read_new(3, news.cursor)
    assert [one.syllables for one in later.observations] == [7]
    assert pages.state_key(3) == f"{pages.folder(3)}state.json"


def test_who_has_no_canary_to_try_says_so(place: World) -> None:
    pages = pages_of(place)
    pages.write(page("well", 1))
    pages.write(page("ill", refused="it is not the file that was published"))
    news = pages.read_new(3, {})
    assert news.refused == {"ill": "it is not the file that was published"}
    pages.write(page("ill", 2))
    assert pages.read_new(3, news.cursor).refused == {}
