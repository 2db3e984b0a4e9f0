"""By when a backlog shall be done, and for how much: typed, kept, judged."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from producer.backlog.budgets import affordable
from producer.backlog.estimate import Offer, offer, offers
from producer.backlog.manifest import Cursor, Manifest
from producer.backlog.outlook import outlook
from producer.backlog.terms import SpentSoFar, Terms, parse_budget, parse_by, shown, terms_of
from shared.broker.leased_queues import WorkerSeen
from shared.errors import NewerMessage, UsageError
from shared.messages import Message, Recipe, Sampling, decode
from shared.settings import Settings

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
RECIPE = Recipe(prompt="p", model="llava-hf/LLaVA-NeXT-Video-7B-hf", revision="r")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


# Typed


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("22:30", "2026-11-29 22:30 +09:00"),  # it is 21:00 in Seoul
        ("21:00", "2026-11-30 21:00 +09:00"),  # now is no time to come
        ("8:00", "2026-11-30 08:00 +09:00"),
        ("2026-12-01T08:00", "2026-12-01 08:00 +09:00"),
        ("2026-12-01 08:00:30", "2026-12-01 08:00 +09:00"),
        ("2026-12-01T08:00Z", "2026-12-01 08:00 +00:00"),
        ("2026-12-01T08:00-05:00", "2026-12-01 08:00 -05:00"),
    ],
)
def test_a_time_is_the_next_one_here_unless_it_says_more(
    text: str, at: str, zone: pytest.MonkeyPatch
) -> None:
    assert shown(parse_by(text, NOW)) == at


def test_a_time_of_tomorrow_has_tomorrows_difference_to_utc(zone: pytest.MonkeyPatch) -> None:
    zone.setenv("TZ", "Europe/Berlin")
    time.tzset()
    evening = datetime(2026, 10, 24, 18, tzinfo=UTC)  # clocks go back in the night
    assert shown(parse_by("08:00", evening)) == "2026-10-25 08:00 +01:00"


@pytest.mark.parametrize(
    ("now", "text", "at"),
    [
        ("2026-11-01T05:45Z", "01:30", "2026-11-01 01:30 -05:00"),  # 01:45, and soon again 01:00
        ("2026-11-01T06:20Z", "01:30", "2026-11-01 01:30 -05:00"),  # 01:20 for the second time
        ("2026-11-01T06:30Z", "01:30", "2026-11-02 01:30 -05:00"),
        ("2026-11-01T05:20Z", "01:30", "2026-11-01 01:30 -04:00"),
        ("2026-03-08T06:30Z", "02:30", "2026-03-09 02:30 -04:00"),  # that night has none
    ],
)
def test_where_clocks_change_it_is_the_next_time_that_they_show_that(
    now: str, text: str, at: str, zone: pytest.MonkeyPatch
) -> None:
    zone.setenv("TZ", "America/New_York")
    time.tzset()
    assert shown(parse_by(text, datetime.fromisoformat(now))) == at


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tomorrow", "'tomorrow' is no time"),
        ("25:00", "'25:00' is no time"),
        ("2026-12-01", "'2026-12-01' is no time"),
        ("9999-12-31T23:59-05:00", "is no time"),
        ("9999-12-31T23:59Z", "is no time"),
        ("0001-01-01T00:00+05:00", "is no time"),
        ("2026-11-29T11:00Z", "has passed"),
    ],
)
def test_what_is_no_time_to_come_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_by(text, NOW)


@pytest.mark.parametrize(
    ("text", "usd"), [("500usd", 500.0), ("$0.50", 0.5), (" 12.25USD ", 12.25), ("3", 3.0)]
)
def test_a_budget_is_in_dollars(text: str, usd: float) -> None:
    assert parse_budget(text) == usd


@pytest.mark.parametrize("text", ["0usd", "500eur", "-5", "many", "1e9", "nan", ""])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no amount of money"):
        parse_budget(text)


def test_terms_are_changed_one_by_one() -> None:
    before = Terms(by=NOW, budget_usd=5)
    assert terms_of(None, None, NOW, before) == before
    assert terms_of(None, "none", NOW, before) == Terms(by=NOW)
    assert terms_of("none", "7usd", NOW, before) == Terms(budget_usd=7)
    assert not terms_of(None, None, NOW)


# Kept


class EarlierCursor(Message):
    """As it was before there were terms."""

    v: int = 1
    state: str = "running"
    fed: int = 0
    updated_at: datetime


def test_a_cursor_without_terms_is_read_by_an_earlier_jamak_and_one_with_them_is_refused() -> None:
    plain = Cursor(updated_at=NOW, fed=3)
    assert decode(EarlierCursor, plain.as_json()).fed == 3
    assert decode(Cursor, plain.as_json()).fed == 3
    agreed = decode(Cursor, plain.as_json()).model_copy(update={"terms": Terms(by=NOW)})
    with pytest.raises(NewerMessage):
        decode(EarlierCursor, agreed.as_json())
    assert decode(Cursor, agreed.as_json()).terms == Terms(by=NOW)
    assert json.loads(agreed.as_json())["v"] == 2
    again = agreed.model_copy(update={"again": 2})
    assert json.loads(again.as_json())["v"] == 3
    assert decode(Cursor, again.as_json()).again == 2
    earlier = EarlierCursor(updated_at=NOW, fed=9).model_dump_json()
    assert decode(Cursor, earlier).fed == 9


# Judged


def live(card: str, **told: float) -> WorkerSeen:
    return WorkerSeen("w", 0.1, {"card": card, "queues": ["q"], **told})


def test_the_cheapest_class_that_is_in_time_comes_first() -> None:
    own = Settings(usd_per_hour={"l4": 3600.0, "h100": 1800.0}, machine_start_s=60)
    recipe = RECIPE.model_copy(update={"sampling": Sampling(frames=8)})
    workers = [live("l4", units_per_full_s=2.0, cold_start_s=40), live("h100")]
    found = offers(own, 3600, recipe, "l4", workers, 1000.0)
    assert [one.card for one in found] == ["a100", "h100", "l4"]
    l4 = found[-1]
    # A dollar a second for two jobs, of 3600 of them; two workers have 900 s after 100 s of start.
    assert (l4.measured, l4.jobs_per_s, l4.each_usd, l4.start_s) == (True, 2.0, 0.5, 100)
    assert (l4.workers, l4.takes_s, l4.usd) == (2, 1000, 2000)
    assert not found[0].measured
    assert offer(own, 3600, recipe, "l4", workers, 100.0).workers is None
    assert offer(own, 3600, recipe, "l4", workers, None).workers == 1


def test_only_classes_that_there_are_are_offered() -> None:
    settings = Settings(scale_classes=("l4",))
    assert [one.card for one in offers(settings, 1, RECIPE, "t4", (), None)] == ["l4"]
    both = offers(settings, 1, RECIPE, "t4", [live("h100")], None)
    assert {one.card for one in both} == {"l4", "h100"}
    assert [one.card for one in offers(settings, 1, RECIPE, "a100", (), None)] == ["a100"]


ONE = Offer("l4", 1, 2.0, True, 100.0, None, None, each_usd=0.01)


@pytest.mark.parametrize(
    ("left", "per_minute", "serving", "in_time", "workers", "said"),
    [
        (6000, 120.0, 1, True, 1, ""),  # 50 minutes
        (14400, 120.0, 1, False, 2, "in time it takes 2 × l4, and 1 workers take it now"),
        (14400, 0.0, 0, None, 3, "in time it takes 3 × l4, and 0 workers take it now"),
        (14400, 0.0, 9, None, 2, ""),
        (0, 0.0, 0, True, 0, ""),
    ],
)
def test_a_deadline_holds_at_the_rate_of_the_last_minutes(
    left: int, per_minute: float, serving: int, in_time: bool, workers: int, said: str
) -> None:
    seen = outlook(Terms(by=NOW + timedelta(hours=1)), None, left, per_minute, serving, ONE, NOW)
    assert (seen.in_time, seen.workers, "".join(seen.advice)) == (in_time, workers, said)


def test_a_deadline_that_is_over_or_too_near_does_not_hold() -> None:
    late = outlook(Terms(by=NOW - timedelta(hours=1)), None, 5, 9.0, 1, ONE, NOW)
    assert (late.in_time, late.advice[0][:10]) == (False, "it is late")
    near = outlook(Terms(by=NOW + timedelta(seconds=90)), None, 5, 0.0, 0, ONE, NOW)
    assert (near.in_time, near.workers) == (False, None)
    assert "no number of workers is enough" in near.advice[0]


def test_what_ends_in_thousands_of_years_has_no_date() -> None:
    terms = Terms(by=NOW + timedelta(hours=1))
    seen = outlook(terms, None, 2**53, 1 / 15, 1, ONE, NOW)
    assert (seen.ends_at, seen.in_time) == (None, False)
    near = outlook(terms, None, 60, 1.0, 1, ONE, NOW)
    assert near.ends_at == NOW + timedelta(hours=1)


def test_what_a_job_costs_is_presumed_by_the_live_workers_until_five_captions_are_paid_for() -> (
    None
):
    settings = Settings(usd_per_hour={"l4": 3600.0})
    recipe = RECIPE.model_copy(update={"sampling": Sampling(frames=8)})
    manifest = Manifest(name="b", source="-", recipe=recipe, card="l4", created_at=NOW)
    cursor = Cursor(updated_at=NOW, terms=Terms(budget_usd=100))
    slow = [live("l4", units_per_full_s=0.1)]  # ten dollars each
    assert affordable(settings, manifest, cursor, 3, slow) == 7
    few = cursor.model_copy(update={"spent": SpentSoFar(usd=4, captions=4, failures=9, at=NOW)})
    assert affordable(settings, manifest, few, 15, slow) == 9 - 2
    dear = cursor.model_copy(update={"spent": SpentSoFar(usd=80, captions=4, at=NOW)})
    assert affordable(settings, manifest, dear, 4, slow) == 1
    sure = cursor.model_copy(update={"spent": SpentSoFar(usd=5, captions=5, at=NOW)})
    assert affordable(settings, manifest, sure, 5, slow) == 95
    assert affordable(settings, manifest, Cursor(updated_at=NOW), 5, slow) is None


def test_a_budget_holds_by_what_jobs_have_cost_so_far() -> None:
    terms, spent = Terms(budget_usd=10), SpentSoFar(usd=2, captions=100, at=NOW)
    seen = outlook(terms, spent, 300, 0.0, 0, ONE, NOW)
    assert (seen.usd, seen.in_budget, seen.advice) == (8, True, ())
    dear = outlook(terms, spent, 500, 0.0, 0, ONE, NOW)
    assert (dear.usd, dear.in_budget) == (12, False)
    assert dear.advice == ("all of it would cost $12.00, and it pauses when $10.00 are used",)
    assert outlook(terms, None, 500, 0.0, 0, ONE, NOW).usd == 5  # before any was paid for
