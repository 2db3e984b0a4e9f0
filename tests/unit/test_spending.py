"""Each second of a worker is accounted once, and the bill is the sum of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.costs.bill import MOST_OFF, as_dict, bill
from shared.bucket.ledgers import WASTE, Ledger, Spent
from shared.tenants import Tenants
from workers.delivery.spending import COMPUTES, Account, Spending, Told
from workers.progress import Progress

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
TENANTS = Tenants({"s3://v/news/": "news", "s3://v/films/": "films"})


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def spent(told: Told) -> dict[tuple[str, str], float]:
    return {(one.tenant, one.how): one.seconds for one in told.spent}


def page(told: Told, **changes: object) -> Ledger:
    ledger = Ledger(
        worker="w",
        card="l4",
        began_at=NOW - timedelta(hours=1),
        written_at=NOW,
        every_s=60,
        usd_per_hour=3600.0,  # a dollar a second
        price="a test",
        alive_s=told.alive_s,
        cold_start_s=told.cold_start_s,
        idle_s=told.idle_s,
        spent=told.spent,
        jamak="0",
    )
    return ledger.model_copy(update=changes)


def test_time_is_of_those_whose_rows_compute_and_else_of_all_in_hand() -> None:
    clock = Clock()
    spending = Spending(TENANTS, began=90.0, clock=clock)
    spending.ready()  # 10 s after its process began
    clock.now = 105  # 5 s idle
    first, second = Progress(), Progress()
    news = spending.open(first)
    spending.name(news, "s3://v/news/a.mp4", "b1")
    films = spending.open(second)
    spending.name(films, "s3://v/films/a.mp4", "")
    first.tick("fetch")
    second.tick("fetch")
    clock.now = 109  # both fetch: 2 s each
    first.tick(COMPUTES[0])
    clock.now = 116  # one computes while the other fetches: 7 s
    second.tick(COMPUTES[0])
    first.tick(COMPUTES[1])
    clock.now = 118  # both compute: 1 s each
    first.tick("check")
    clock.now = 121  # now it is the other one's alone: 3 s
    news.how, news.adapter = "captions", "v1"
    spending.close(news)
    films.wasted("retries")
    spending.close(films)
    clock.now = 125
    told = spending.end()
    assert (told.alive_s, told.cold_start_s, told.idle_s) == (35, 10, 9)
    assert spent(told) == {("news", "captions"): 10, ("films", "retries"): 6}
    assert [(one.adapter, one.backlog, one.jobs) for one in told.spent] == [
        ("", "", 1),
        ("v1", "b1", 1),
    ]


def test_what_is_in_hand_when_a_worker_ends_was_handed_back_unless_a_part_is_kept() -> None:
    clock = Clock()
    spending = Spending(TENANTS, clock=clock)
    kept = spending.open(Progress())
    kept.how = "parts"
    kept.wasted("lost")  # nothing that is kept becomes waste
    spending.open(Progress())
    clock.now += 4
    assert spent(spending.read()) == {("other", "in_hand"): 4}
    assert spent(spending.end()) == {("other", "parts"): 2, ("other", "handed_back"): 2}
    spending.close(kept)  # its thread still runs
    assert spent(spending.end()) == {("other", "parts"): 2, ("other", "handed_back"): 2}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ready", "open", "stage", "close", "read", "turn"]),
        st.integers(0, 9),
        st.sampled_from(["captions", "parts", *WASTE]),
        st.floats(0, 1000),
    ),
    max_size=40,
)
URIS = "s3://v/news/a", "s3://v/films/a", "s3://v/b"


@given(st.lists(st.tuples(STEPS, st.booleans()), min_size=1, max_size=3))
def test_parts_are_as_long_as_life_whatever_happens(
    lives: list[tuple[list[tuple[str, int, str, float]], bool]],
) -> None:
    """Jobs that end in every way, pages that are turned, and workers that drain or are killed."""
    pages, lived_s = [], 0.0
    for steps, drains in lives:
        clock = Clock()
        began = clock.now
        spending = Spending(TENANTS, clock=clock)
        in_hand: list[tuple[Progress, Account]] = []
        last: Told | None = None
        for what, at, how, seconds in steps:
            clock.now += seconds
            if what == "ready":
                spending.ready()
            elif what == "open":
                progress = Progress()
                in_hand.append((progress, spending.open(progress)))
                spending.name(in_hand[-1][1], URIS[at % 3], "b" * (at % 2))
            elif what == "stage" and in_hand:
                in_hand[at % len(in_hand)][0].tick(("fetch", *COMPUTES, "write")[at % 4])
            elif what == "close" and in_hand:
                _, account = in_hand.pop(at % len(in_hand))
                account.how, account.adapter = how, "v" * (at % 2)  # type: ignore[assignment]
                spending.close(account)
            elif what == "read":
                last, seen_at = spending.read(), clock.now
            elif what == "turn":
                pages.append(page(spending.read(turning=True), closed="midnight"))
                lived_s += clock.now - began
                began, last = clock.now, None
        if drains:
            last, seen_at = spending.end(), clock.now
        if last is not None:  # who is killed leaves what was written last
            pages.append(page(last, closed="ended" if drains else ""))
            lived_s += seen_at - began
    for one in pages:
        assert one.accounted_s == pytest.approx(one.alive_s, rel=MOST_OFF / 1000, abs=1e-6)
    for by in ("tenant", "class", "adapter", "backlog"):
        told = bill(pages, by, NOW + timedelta(hours=1))
        assert told.wrong == []
        assert told.whole.seconds == pytest.approx(lived_s, rel=MOST_OFF / 1000, abs=1e-6)
        groups = sum(one.usd for one in told.groups) + told.nobodys.usd
        parts = sum(one.usd for one in told.parts.values())
        for together in (parts, groups):
            assert together == pytest.approx(told.whole.usd, rel=MOST_OFF / 1000, abs=1e-6)


def ledger(seconds: dict[tuple[str, str], float], **changes: object) -> Ledger:
    lines = tuple(
        Spent(tenant=tenant, how=how, jobs=1, seconds=taken)  # type: ignore[arg-type]
        for (tenant, how), taken in seconds.items()
    )
    return page(Told(100.0, 20.0, 80 - sum(seconds.values()), lines), **changes)


def test_idle_time_and_cold_starts_go_to_those_who_used_the_class() -> None:
    pages = [
        ledger({("news", "captions"): 30, ("films", "failures"): 10}),
        ledger({}, card="h100", usd_per_hour=None),
        ledger({("films", "captions"): 1}, card="a100"),
    ]
    told = bill(pages, "tenant", NOW)
    news, films = sorted(told.groups, key=lambda one: one.name, reverse=True)
    # 20 s of a start and 40 s without work, three quarters of them for who used three quarters.
    assert (news.useful.usd, news.wasted.usd, news.shared.usd, news.captions) == (30, 0, 45, 1)
    assert (films.useful.usd, films.wasted.usd, films.shared.usd) == (1, 10, 15 + 99)
    assert (told.nobodys.usd, told.nobodys.seconds, told.unpriced_s) == (0, 100, 100)
    assert told.prices == {"l4 $3600": "a test", "a100 $3600": "a test"}
    by_class = {one.name: one.seconds for one in bill(pages, "class", NOW).groups}
    assert by_class == {"l4": 100, "a100": 100, "h100": 100}
    assert as_dict(told)["off"] == 0


@pytest.mark.parametrize(
    ("closed", "silent_s", "how"),
    [("", 181, "lost"), ("", 179, "in_hand"), ("ended", 9999, "in_hand")],
)
def test_who_says_no_goodbye_was_killed(closed: str, silent_s: float, how: str) -> None:
    one = ledger({("news", "in_hand"): 30}, closed=closed)
    told = bill([one], "tenant", NOW + timedelta(seconds=silent_s))
    assert (told.parts[how].seconds, told.killed) == (30, how == "lost")
    assert told.unaccounted.seconds == (60 if how == "lost" else 0)
    (group,) = told.groups
    assert group.wasted.seconds == (30 if how == "lost" else 0)


def test_a_page_whose_parts_do_not_sum_up_is_told() -> None:
    told = bill([ledger({}, alive_s=101.0, worker="liar"), ledger({})], "tenant", NOW)
    assert told.wrong == ["liar"]
    assert told.off == pytest.approx(1 / 201)
