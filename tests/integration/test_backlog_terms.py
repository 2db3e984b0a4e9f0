"""Backlogs with a deadline or a budget: what scalers hear of them, and what they may spend."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import redis

from producer.backlog.backlogs import read_backlog, resume
from producer.backlog.budgets import Budgets, affordable
from producer.backlog.deadlines import Deadlines
from producer.backlog.estimate import offer
from producer.backlog.feeder import Feed, Feeder, feed_round
from producer.backlog.manifest import Backlog
from producer.backlog.scan import create, scan
from producer.backlog.terms import SpentSoFar, Terms
from producer.bucket.failures import Wanted, find_failures, redrive
from shared.broker.backlog_progress import fed_of
from shared.bucket.ledgers import How, Ledger, Spent, ledger_key
from shared.bucket.records import Records
from shared.errors import Forbidden, JamakError, UsageError
from shared.settings import Settings
from tests.backlogs import QUEUE, caption_of, fill, take_all, work
from tests.terminal import jamak_here
from tests.world import World

pytestmark = pytest.mark.integration

_numbers = count()


@pytest.fixture
def name(world: World) -> Iterator[str]:
    """Of a backlog, and of the prefix that its videos have. Nothing else is in flight."""
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(*(f"{world.redis_prefix}:{key}" for key in (QUEUE, "delayed", "unacked")))
    yield f"terms-{next(_numbers)}"


def start(world: World, name: str, videos: int, terms: Terms, done: int = 0) -> Backlog:
    """Args:
    done: so many of the last videos have their captions.
    """
    for video in fill(world, name, videos)[videos - done :]:
        job = world.job(video)
        Records(world.store, world.settings).write(job, caption_of(job))
    source = f"s3://{world.videos}/{name}/"
    made = create(world.store, world.settings, name, source, world.recipe, "t4", terms)
    scan(world.store, world.settings, world.queues, made)
    return made


def test_what_is_due_and_in_no_queue_is_told_until_it_is_fed(world: World, name: str) -> None:
    now = datetime.now(UTC)
    backlog = start(world, name, 6, Terms(by=now + timedelta(hours=2)))
    start(world, f"{name}-free", 3, Terms(budget_usd=5))
    deadlines = Deadlines(world.store, world.settings, world.queues, lambda: now)
    (due,) = deadlines.unfed()
    assert (due.queue, due.lines, due.left_s) == (QUEUE, 6, 7200)
    assert due.recipe == world.recipe
    feed = Feed(backlog, world.queues)
    assert feed_round([feed], lambda queue: 4) == 4
    assert [one.lines for one in deadlines.unfed()] == [2]  # Redis knows, before the cursor does
    backlog.turn("paused")
    assert deadlines.unfed() == []
    backlog.turn("running")
    assert deadlines.unfed() == []  # it is looked for now and then only
    deadlines.FIND_S = deadlines.AGAIN_S = 0.0  # type: ignore[misc]
    assert [one.lines for one in deadlines.unfed()] == [2]
    feed_round([feed], lambda queue: 4)
    assert deadlines.unfed() == []


def dollar_a_job(world: World) -> Settings:
    rate = offer(world.settings, 1, world.recipe, "t4", (), None).jobs_per_s
    return world.settings.model_copy(update={"usd_per_hour": {"t4": 3600 * rate}})


def page(world: World, name: str, usd: float, jobs: int, how: How = "captions") -> None:
    """What a worker writes, that costs a dollar a second."""
    now = datetime.now(UTC)
    wasted = Spent(tenant="other", backlog=name, how="retries", jobs=9, seconds=usd / 4)
    useful = Spent(tenant="other", backlog=name, how=how, jobs=jobs, seconds=usd * 3 / 4)
    others = Spent(tenant="other", backlog="another", how=how, jobs=99, seconds=99)
    ledger = Ledger(
        worker="w",
        card="t4",
        began_at=now,
        written_at=now,
        every_s=60,
        usd_per_hour=3600,
        alive_s=usd + 99,
        cold_start_s=0,
        idle_s=0,
        spent=(useful, wasted, others),
        jamak="0",
    )
    key = ledger_key(world.prefix, now.date(), "w")
    world.store.put(world.output, key, ledger.model_dump_json().encode())


def test_no_more_is_fed_than_the_budget_pays_for_and_then_it_is_paused(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    settings, unread = dollar_a_job(world), list[JamakError]()
    backlog = start(world, name, 32, Terms(budget_usd=50), done=12)
    feed, allow = Feed(backlog, world.queues), Budgets(world.store, settings, unread.append).allow

    def fed() -> int:
        return feed_round([feed], lambda queue: 100, allow=allow)

    assert (fed(), fed()) == (5, 0)  # what is on its way counts, and a tenth tries what it costs
    assert len(work(world)) == 5
    assert fed() == 0  # no page tells of them yet
    page(world, name, usd=40, jobs=5)  # they were dearer: eight dollars each
    assert (fed(), fed()) == (1, 0)
    assert feed.cursor.state == "running"  # that one may have been cheaper still
    work(world)
    page(world, name, usd=49, jobs=6)
    assert fed() == 0
    assert (backlog.cursor()[0].state, backlog.cursor()[0].why) == ("paused", "budget")
    told = read_backlog(world.store, settings, world.queues, name)
    assert (told["state"], told["spent_usd"], told["in_budget"]) == ("paused", 49, False)
    (why, *_) = told["why"]
    assert (why["reason"], why["jobs"]) == ("budget", 26)
    assert "$49.00 of $50.00 are used, and another" in why["message"]
    for little in (None, "50usd"):
        with pytest.raises(UsageError, match=r"\$49.00 of .* are used already"):
            resume(world.store, settings, name, None, little)
    resume(world.store, settings, name, None, "70usd")
    feed.look()
    assert feed.running
    assert fed() == 2


def test_what_had_ended_before_it_was_fed_is_not_to_be_paid_for(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    backlog = start(world, name, 9, Terms(budget_usd=1000), done=6)
    feed, budgets = Feed(backlog, world.queues), Budgets(world.store, dollar_a_job(world), print)
    assert feed_round([feed], lambda queue: 100, allow=budgets.allow) == 9
    spent = backlog.cursor()[0].spent
    assert spent is not None
    assert (spent.free, spent.unpaid(feed.fed)) == (6, 3)
    # A budget that comes late knows none of them, but what has ended.
    backlog.agree(Terms())
    work(world)
    backlog.move(lambda cursor: cursor.model_copy(update={"spent": None}))
    backlog.agree(Terms(budget_usd=5))
    feed.look()
    assert not budgets.settle(feed)
    spent = backlog.cursor()[0].spent
    assert spent is not None
    assert (spent.free, spent.unpaid(feed.fed)) == (9, 0)


def test_what_no_page_tells_of_counts_as_spent(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    settings = dollar_a_job(world)
    backlog = start(world, name, 60, Terms(budget_usd=50))
    feed, budgets = Feed(backlog, world.queues), Budgets(world.store, settings, print)

    def fed(rounds: int = 4) -> int:
        """By workers of an earlier version, that write no pages."""
        total = 0
        for _ in range(rounds):
            total += feed_round([feed], lambda queue: 7, allow=budgets.allow)
            work(world)
        return total

    assert fed() == 5  # the pages may come yet
    budgets.SETTLED_S = 0.0  # type: ignore[misc]
    assert fed(20) == 45
    cursor, _ = backlog.cursor()
    assert (cursor.state, cursor.why) == ("paused", "budget")
    (why, *_) = read_backlog(world.store, settings, world.queues, name)["why"]
    assert "$0.00 of $50.00 are used, 50 fed jobs are on no worker's page" in why["message"]


def test_what_is_sent_again_is_paid_for_again(world: World, name: str) -> None:
    backlog = start(world, name, 9, Terms(budget_usd=20))
    feed = Feed(backlog, world.queues)
    feed.step(6)
    feed.save()
    work(world, failing={0, 1})
    backlog.spend(SpentSoFar(usd=6, captions=4, failures=2, at=datetime.now(UTC)))

    def left() -> int | None:
        cursor, _ = backlog.cursor()
        return affordable(dollar_a_job(world), feed.manifest, cursor, feed.fed, [])

    assert left() == 14
    found = list(find_failures(world.store, world.settings, Wanted(world.videos, f"{name}/")))
    redrive(world.store, world.settings, world.queues, found, lambda queue: 10)
    assert left() == 12
    assert len(work(world)) == 2
    backlog.spend(SpentSoFar(usd=8, captions=6, failures=2, at=datetime.now(UTC)))
    assert left() == 12
    feed.step(3)
    assert left() == 9  # these wait


def feeder_of(world: World, budgets: Budgets, *names: str) -> Feeder:
    return Feeder(
        lambda: names,
        lambda names: fed_of(world.queues, names),
        lambda name: Feed(Backlog(world.store, world.settings, name), world.queues),
        lambda queue: 100,
        lambda seconds: True,
        allow=budgets.allow,
        settle=budgets.settle,
    )


def test_a_backlog_whose_costs_cannot_be_read_does_not_keep_the_others(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    names, told = [f"{name}-{one}" for one in ("fed", "new", "free")], list[JamakError]()
    over, new, free = (
        start(world, one, 3, Terms(budget_usd=usd))
        for one, usd in zip(names, (50, 50, None), strict=True)
    )
    feed_round([Feed(over, world.queues)], lambda queue: 100)
    budgets = Budgets(world.store, dollar_a_job(world), told.append)
    feeder = feeder_of(world, budgets, *names)

    def refused(*_: object) -> list[Ledger]:
        raise Forbidden("costs/ may not be read")

    with monkeypatch.context() as broken:
        broken.setattr(budgets._pages, "read", refused)
        for _ in range(3):
            feeder.round()
    assert [Feed(one, world.queues).fed for one in (over, new, free)] == [3, 0, 3]
    assert len(told) == 2  # once of each
    status = read_backlog(world.store, world.settings, world.queues, new.name)
    assert (status["why"][-1]["reason"], status["why"][-1]["jobs"]) == ("costs", 3)
    feeder.round()
    assert Feed(new, world.queues).fed == 3
    assert new.cursor()[0].why == ""


def forget(world: World, name: str) -> None:
    """As Redis does after 30 days, or when it is lost."""
    with redis.Redis.from_url(world.redis_url) as client:
        for key in client.scan_iter(f"{world.redis_prefix}:backlog:{name}:*"):
            client.delete(key)


def test_what_redis_forgot_is_not_waited_for(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    monkeypatch.setattr(Budgets, "SETTLED_S", 0.0)
    settings = dollar_a_job(world)
    backlog = start(world, name, 9, Terms(budget_usd=50))
    feed, budgets = Feed(backlog, world.queues), Budgets(world.store, settings, print)
    assert feed_round([feed], lambda queue: 100, allow=budgets.allow) == 5
    work(world)
    page(world, name, usd=48, jobs=5)
    assert feed_round([feed], lambda queue: 100, allow=budgets.allow) == 0
    assert backlog.cursor()[0].why == "budget"
    feed.save()
    forget(world, name)
    resume(world.store, settings, name, None, "99usd")
    feed, budgets = Feed(backlog, world.queues), Budgets(world.store, settings, print)
    assert feed_round([feed], lambda queue: 100, allow=budgets.allow) == 4
    assert [budgets.settle(feed) for _ in range(4)] == [False] * 4  # they wait for a worker
    take_all(world)
    with redis.Redis.from_url(world.redis_url) as client:  # lost, like all of it
        client.delete(f"{world.redis_prefix}:unacked")
    forget(world, name)
    at = backlog.cursor()[1]
    assert budgets.settle(feed)
    assert backlog.cursor()[1] == at  # nothing has changed, so nothing is written


def test_a_lost_message_neither_keeps_a_used_up_budget_open_nor_scales_for_what_is_never_fed(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    settings, now = dollar_a_job(world), datetime.now(UTC)
    backlog = start(world, name, 60, Terms(by=now + timedelta(hours=2), budget_usd=50))
    feed, budgets = Feed(backlog, world.queues), Budgets(world.store, settings, print)
    deadlines = Deadlines(world.store, settings, world.queues)
    (due,) = deadlines.unfed()
    assert due.lines == 50  # what the budget pays for
    assert feed_round([feed], lambda queue: 100, allow=budgets.allow) == 5
    (due,) = deadlines.unfed()
    assert due.lines == 45
    work(world)
    page(world, name, usd=40, jobs=5)
    assert feed_round([feed], lambda queue: 100, allow=budgets.allow) == 1
    assert deadlines.unfed() == []
    assert take_all(world)
    with redis.Redis.from_url(world.redis_url) as client:
        client.delete(f"{world.redis_prefix}:unacked")  # a failover
    for _ in range(3):
        assert feed_round([feed], lambda queue: 100, allow=budgets.allow) == 0
    assert backlog.cursor()[0].state == "running"  # its page may come yet
    budgets.SETTLED_S = 0.0  # type: ignore[misc]
    feed_round([feed], lambda queue: 100, allow=budgets.allow)
    assert backlog.cursor()[0].why == "budget"


def test_a_price_that_is_presumed_is_tried_with_a_tenth_of_the_budget(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    settings = dollar_a_job(world)
    cheap = settings.model_copy(update={"usd_per_hour": {"t4": settings.usd_per_hour["t4"] / 10}})
    feed = Feed(start(world, name, 60, Terms(budget_usd=5)), world.queues)
    allow = Budgets(world.store, cheap, print).allow
    assert feed_round([feed], lambda queue: 100, allow=allow) == 5
    page(world, name, usd=1, jobs=1)  # a dollar, and not ten cents
    assert feed_round([feed], lambda queue: 100, allow=allow) == 0


def test_what_was_spent_is_summed_up_until_the_last_job_is_paid_for(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    page(world, name, usd=7, jobs=3)  # of another one of this name, that was deleted
    start(world, name, 2, Terms(budget_usd=50))
    budgets = Budgets(world.store, world.settings, print)
    feeder = feeder_of(world, budgets, name)

    def spent() -> object:
        feeder.round()
        return read_backlog(world.store, world.settings, world.queues, name)["spent_usd"]

    assert spent() == 0
    page(world, name, usd=8, jobs=4)
    assert spent() == 1  # it is fed, and looked at all the same
    work(world)
    page(world, name, usd=10, jobs=5)
    assert spent() == 3
    page(world, name, usd=11, jobs=5)
    assert spent() == 4  # not all pages were written when the last job ended
    budgets.SETTLED_S = 0.0  # type: ignore[misc]
    spent()
    page(world, name, usd=12, jobs=5)
    assert spent() == 4  # nobody looks any more


def test_who_paused_it_resumes_it_with_the_same_budget(world: World, name: str) -> None:
    backlog = start(world, name, 1, Terms(budget_usd=5))
    backlog.turn("paused")
    resume(world.store, world.settings, name, None, None)
    assert backlog.cursor()[0].terms == Terms(budget_usd=5)
    resume(world.store, world.settings, name, None, "none")
    assert backlog.cursor()[0].terms is None
    backlog.turn("paused")
    backlog.run_out(Terms(budget_usd=5))  # a feeder that comes late
    assert backlog.cursor()[0].why == ""
    resume(world.store, world.settings, name, None, "9usd")
    backlog.run_out(Terms(budget_usd=5))  # that one judged what is not agreed on any more
    assert backlog.cursor()[0].state == "running"
    backlog.run_out(Terms(budget_usd=9))
    assert backlog.cursor()[0].why == "budget"


def test_the_verbs_take_terms_and_say_whether_they_hold(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in world.env.items():
        monkeypatch.setenv(variable, value)
    fill(world, name, 3)
    source = f"s3://{world.videos}/{name}/"
    by = "2199-01-01T08:00Z"
    planned = json.loads(
        jamak_here(
            monkeypatch, "backlog", "plan", source, "--by", by, "--budget", "1usd", "--json"
        ).out
    )
    assert [one["card"] for one in planned["offers"]] == ["t4", "l4", "a100", "h100"]
    assert (planned["offers"][0]["workers"], planned["offers"][0]["measured"]) == (1, False)
    shown = jamak_here(monkeypatch, "backlog", "plan", source, "--by", by, "--budget", "0.01").out
    assert "by 2199-01-01 08:00 +00:00 it takes 1 × t4" in shown
    started = jamak_here(
        monkeypatch, "backlog", "start", name, source, "--by", by, "--budget", "1usd", "--json"
    )
    told = json.loads(started.out)
    assert (told["by"], told["budget_usd"]) == ("2199-01-01T08:00:00+00:00", 1)
    assert (told["in_time"], told["workers"], told["in_budget"]) == (None, 1, True)
    shown = " ".join(jamak_here(monkeypatch, "backlog", "status", name).out.split())
    assert "by 2199-01-01 08:00 +00:00 not known yet" in shown
    assert "budget $0.00 / $1.00 will hold" in shown
    assert "what to do in time it takes 1 × t4, and 0 workers take it now" in shown
    scaled = json.loads(jamak_here(monkeypatch, "scale", "explain", "t4", "--json").out)
    (wanted,) = scaled["classes"]
    assert (wanted["units"]["due"], wanted["wanted"]) == (3, 1)
    refused = jamak_here(monkeypatch, "backlog", "start", "x", source, "--by", "2001-01-01T00:00")
    assert (refused.code, "has passed" in refused.err) == (2, True)
