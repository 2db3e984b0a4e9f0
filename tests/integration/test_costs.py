"""The pages of workers in a real bucket: who writes them when, and what `jamak costs` says."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from producer.costs.bill import bill
from producer.costs.pages import Pages
from shared.broker.leased_queues import History
from shared.bucket.ledgers import Ledger
from shared.bucket.storage import ObjectStore
from shared.errors import BadMessage, JamakError, LeaseLost, NotAVideo, StoreUnavailable, WrongModel
from shared.messages import BacklogLine, CaptionJob, Video
from shared.prices import Price
from shared.tenants import Tenants
from tests.one_task import run_caption_task
from tests.terminal import jamak_here
from tests.world import World
from workers.delivery.leases import Lease, Leases
from workers.delivery.ledger import LedgerWriter
from workers.delivery.spending import Spending
from workers.progress import Progress

pytestmark = pytest.mark.integration

MIDNIGHT = datetime(2026, 11, 29, tzinfo=UTC)
TENANTS = Tenants({"s3://v/news/": "news"})


class Times:
    """One for the clock and for the time of day."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def clock(self) -> float:
        return self.at.timestamp()

    def now(self) -> datetime:
        return self.at

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def place(world: World) -> World:
    """An output of its own for each test."""
    output = f"s3://{world.output}/{world.prefix}{uuid.uuid4().hex[:6]}/"
    own = World(world.videos, world.output, world.redis_url, world.aws, world.redis_prefix)
    own.__dict__["settings"] = world.settings.model_copy(update={"output": output})
    return own


def writer(
    place: World, times: Times, store: ObjectStore | None = None, **more: object
) -> LedgerWriter:
    return LedgerWriter(
        store or place.store,
        place.settings.all_outputs[0],
        "w1",
        "l4",
        Price(3600.0, "a test"),
        Spending(TENANTS, clock=times.clock),
        now=times.now,
        **more,  # type: ignore[arg-type]
    )


def pages(place: World, since: date = date(2026, 1, 1)) -> list[Ledger]:
    return Pages(place.store, place.settings).read(since)


def test_a_page_is_written_again_and_a_new_one_begins_with_the_day(place: World) -> None:
    times = Times(MIDNIGHT - timedelta(seconds=100))
    ledger = writer(place, times)
    ledger.spending.ready()
    times.pass_s(30)
    ledger.write()
    (page,) = pages(place)
    assert (page.alive_s, page.idle_s, page.closed, page.every_s) == (30, 30, "", 5)
    times.pass_s(80)
    ledger.write()  # ten seconds past midnight
    times.pass_s(5)
    ledger.end()
    first, second = pages(place)
    assert (first.alive_s, first.closed, second.alive_s, second.closed) == (
        *(110, "midnight"),
        *(5, "ended"),
    )
    assert second.began_at == MIDNIGHT + timedelta(seconds=10)
    assert pages(place, MIDNIGHT.date()) == [second]
    ledger.write()  # its thread comes late
    assert pages(place)[1] == second


class Away(ObjectStore):
    """A store that does not answer, for a while."""

    away = True

    def put(self, *args: object, **how: object) -> str:
        if self.away:
            raise StoreUnavailable("it does not answer")
        return super().put(*args, **how)  # type: ignore[arg-type]


def test_a_page_that_could_not_be_written_at_midnight_is_written_later(place: World) -> None:
    times, store = Times(MIDNIGHT - timedelta(seconds=10)), Away()
    ledger = writer(place, times, store)
    times.pass_s(20)
    ledger.write()
    times.pass_s(7)
    assert pages(place) == []
    store.away = False
    ledger.write()
    assert [page.alive_s for page in pages(place)] == [20, 7]


def test_the_longer_it_lives_the_less_often_it_is_written(place: World) -> None:
    times = Times(MIDNIGHT)
    ledger = writer(place, times)
    told = []
    for seconds in (1, 199, 400, 3000):
        times.pass_s(seconds)
        ledger.write()
        told += [page.every_s for page in pages(place)]
    assert told == [5, 10, 30, 60]


def test_who_is_killed_leaves_what_was_written_last(place: World) -> None:
    times = Times(MIDNIGHT)
    ledger = writer(place, times, soonest_s=0.01)
    account = ledger.spending.open(Progress())
    ledger.spending.name(account, "s3://v/news/a.mp4", "b1")
    times.pass_s(8)
    ledger.write()
    times.pass_s(50)  # and then it is killed
    told = bill(pages(place), "tenant", MIDNIGHT + timedelta(days=1))
    (group,) = told.groups
    assert (group.name, group.wasted.usd, told.killed) == ("news", 8, 1)


def test_it_is_written_by_itself_and_what_changes_is_read_again(place: World) -> None:
    times = Times(MIDNIGHT)
    ledger = writer(place, times, soonest_s=0.02)
    known = Pages(place.store, place.settings)
    ledger.start()
    from tests.waiting import wait_until

    wait_until(lambda: bool(known.read(date(2026, 1, 1))), 10, "the first page")
    times.pass_s(3)
    wait_until(
        lambda: [one.alive_s for one in known.read(date(2026, 1, 1))] == [3], 10, "what changed"
    )
    ledger.end()
    assert [one.closed for one in known.read(date(2026, 1, 1))] == ["ended"]


def test_a_page_that_cannot_be_read_does_not_keep_the_others(place: World) -> None:
    times = Times(MIDNIGHT)
    writer(place, times).write()
    output = place.settings.all_outputs[0]
    folder = f"{output.prefix}costs/2026-11-29/"
    place.store.put(output.bucket, f"{folder}broken.json", b"{")
    place.store.put(output.bucket, f"{folder}newer.json", b'{"v": 99}')
    unread: list[JamakError] = []
    assert len(Pages(place.store, place.settings).read(date(2026, 1, 1), unread.append)) == 1
    assert sorted(one.reason for one in unread) == ["damaged_object", "newer_object"]


class Work:
    """What a CaptionWork is to the task; it takes a second of the test's clock."""

    def __init__(self, times: Times, error: Exception | None = None) -> None:
        self._times, self._error = times, error

    def run(self, job: CaptionJob, lease: Lease) -> None:
        self._times.pass_s(1)
        if self._error:
            raise self._error
        lease.account.how, lease.account.adapter = "captions", "v1"

    def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> bool:
        return False


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (None, "captions"),
        (NotAVideo("x"), "failures"),
        (BadMessage("x"), "failures"),
        (WrongModel("x"), "handed_back"),
        (LeaseLost("x"), "lost"),
        (StoreUnavailable("x"), "retries"),
        (ZeroDivisionError("x"), "retries"),
    ],
)
def test_a_task_says_whose_it_was_and_what_became_of_it(
    world: World, error: Exception | None, how: str
) -> None:
    times = Times(MIDNIGHT)
    spending = Spending(TENANTS, clock=times.clock)
    leases = Leases(world.queues, 4, dict)
    leases.spending = spending
    job = CaptionJob(
        video=Video(bucket="v", key="news/k.mp4", etag="e", size_bytes=1),
        recipe=world.recipe,
        backlog=BacklogLine(name="b1", line=3),
    )
    run_caption_task(leases, Work(times, error), "q", job.model_dump(mode="json"), History())
    (one,) = spending.end().spent
    assert (one.tenant, one.backlog, one.how, one.seconds) == ("news", "b1", how, 1)
    assert one.adapter == ("v1" if how == "captions" else "")


@pytest.fixture
def here(place: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name, value in {**place.env, "JAMAK_OUTPUT": place.settings.output}.items():
        monkeypatch.setenv(name, value)
    yield monkeypatch


def test_the_verb_tells_tenants_waste_and_the_bill(place: World, here: pytest.MonkeyPatch) -> None:
    today = datetime.now(UTC)
    times = Times(today)
    ledger = writer(place, times)
    times.pass_s(4)  # until it is ready
    ledger.spending.ready()
    for tenant, how, seconds in (("news", "captions", 3), ("other", "failures", 1)):
        account = ledger.spending.open(Progress())
        account.tenant, account.how = tenant, how  # type: ignore[assignment]
        times.pass_s(seconds)
        ledger.spending.close(account)
    times.pass_s(2)
    ledger.end()
    said = jamak_here(here, "costs", "--json", "--since", today.date().isoformat())
    told = json.loads(said.out)
    assert (told["whole"]["usd"], told["off"]) == (10, 0)
    assert {name: part["usd"] for name, part in told["parts"].items()} == {
        "cold_start": 4,
        "idle": 2,
        "captions": 3,
        "failures": 1,
    }
    assert [(one["name"], one["usd"]) for one in told["groups"]] == [("news", 7.5), ("other", 2.5)]
    shown = jamak_here(here, "costs").out
    for line in ("news 1 $3.00 $0.00 $4.50 $7.50 $7,500.00", "the bill 10 s 100.0% $10.00"):
        assert line in " ".join(shown.split()), shown
    by_class = json.loads(jamak_here(here, "costs", "--by", "class", "--json").out)
    assert [(one["name"], one["usd"]) for one in by_class["groups"]] == [("l4", 10)]
    later = (today + timedelta(days=2)).date().isoformat()
    assert "no worker has written down" in jamak_here(here, "costs", "--since", later).out
