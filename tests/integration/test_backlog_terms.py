"""Backlogs with a deadline or a budget: what scalers hear of them, and what they may spend."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import redis

from producer.backlog.backlogs import read_backlog, resume
from producer.backlog.budgets import Budgets
from producer.backlog.deadlines import Deadlines
from producer.backlog.estimate import offer
from producer.backlog.feeder import Feed, Feeder, feed_round
from producer.backlog.manifest import Backlog
from producer.backlog.scan import create, scan
from producer.backlog.terms import Terms
from shared.broker.backlog_progress import fed_of
from shared.bucket.ledgers import How, Ledger, Spent, ledger_key
from shared.bucket.records import Records
from shared.errors import JamakError, UsageError
from shared.settings import Settings
from tests.backlogs import QUEUE, caption_of, fill, work
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
    backlog = start(world, name, 32, Terms(budget_usd=5), done=12)
    feed, allow = Feed(backlog, world.queues), Budgets(world.store, settings, unread.append).allow

    def fed() -> int:
        return feed_round([feed], lambda queue: 100, allow=allow)

    assert (fed(), fed()) == (5, 0)  # what is on its way counts
    assert len(work(world)) == 5
    page(world, name, usd=4, jobs=5)  # they were cheaper: 80 cents each
    assert (fed(), fed()) == (1, 0)
    assert feed.cursor.state == "running"  # that one may have been cheaper still
    work(world)
    page(world, name, usd=4.9, jobs=6)
    assert fed() == 0
    assert (backlog.cursor()[0].state, backlog.cursor()[0].why) == ("paused", "budget")
    told = read_backlog(world.store, settings, world.queues, name)
    assert (told["state"], told["spent_usd"], told["in_budget"]) == ("paused", 4.9, False)
    (why, *_) = told["why"]
    assert (why["reason"], why["jobs"]) == ("budget", 26)
    assert "$4.90 of $5.00 are used" in why["message"]
    for little in (None, "5usd"):
        with pytest.raises(UsageError, match=r"\$4.90 of .* are used already"):
            resume(world.store, settings, name, None, little)
    resume(world.store, settings, name, None, "7usd")
    feed.look()
    assert feed.running
    assert fed() == 2


def test_what_was_spent_is_summed_up_until_the_last_job_is_paid_for(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budgets, "LOOK_S", 0.0)
    page(world, name, usd=7, jobs=3)  # of another one of this name, that was deleted
    backlog = start(world, name, 2, Terms(budget_usd=50))
    budgets = Budgets(world.store, world.settings, print)
    feeder = Feeder(
        lambda: [name],
        lambda names: fed_of(world.queues, names),
        lambda _: Feed(backlog, world.queues),
        lambda queue: 9,
        lambda seconds: True,
        allow=budgets.allow,
        settle=budgets.settle,
    )

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
    backlog.run_out()  # a feeder that comes late
    assert backlog.cursor()[0].why == ""


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
