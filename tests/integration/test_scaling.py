"""What is wanted, read from a real Redis: what waits, what is in hand, and how fast workers are."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from producer.jobs.send import messages
from producer.jobs.set_aside import all_set_aside, put_back
from producer.scaling.answers import LOOK_S, STALE_S, TRAIN, Answers, NotKnown, look_once
from producer.scaling.demand import PRESUMED_START_S, Outside, Unfed, class_of
from producer.scaling.outside import Uploads
from producer.scaling.policy import LITTLE
from producer.scaling.reading import READ_WHOLE, take_snapshot
from producer.uploads.sqs import sqs_client
from shared.broker.apps import CAPTION_QUEUES
from shared.broker.leased_queues import History
from shared.broker.queue_order import BULK
from shared.broker.sharing import Share
from shared.errors import BrokerUnavailable, NoSuchQueue
from shared.settings import CardName, Settings
from shared.tenants import OTHER
from shared.units import Effort, Units
from tests.scaling import Fleet, jobs, recipe
from tests.waiting import SLOWEST

pytestmark = pytest.mark.integration

T4, L4, H100 = "caption.t4", "caption.l4", "caption.h100"
Make = Callable[..., Fleet]


@pytest.fixture
def fleet(redis_url: str) -> Iterator[Make]:
    made: list[Fleet] = []

    def make(**how: Any) -> Fleet:
        prefix = f"test-{uuid4().hex[:8]}"
        how = {"model": "vicuna-7b", "machine_start_s": 0.0, **how}
        made.append(Fleet(Settings(redis_url=redis_url, redis_prefix=prefix, **how)))
        return made[-1]

    yield make
    for one in made:
        for key in one.queues.redis.scan_iter(f"{one.settings.redis_prefix}*"):
            one.queues.redis.delete(key)


# What there is to do


def test_where_nothing_is_to_be_done_nobody_is_wanted(fleet: Make) -> None:
    answers = fleet().look()
    assert {name: one.wanted.replicas for name, one in answers.items()} == {
        "t4": 0,
        "l4": 0,
        "a100": 0,
        "h100": 0,
        "train": 0,
    }
    assert "nothing waits" in answers["l4"].wanted.reason


def test_all_that_waits_counts_wherever_it_waits(fleet: Make) -> None:
    one = fleet()
    one.put(L4, 10)
    kills, again, held = one.take(L4, 3)
    one.queues.release(kills, History(deaths=2))  # to run alone
    one.queues.release(again, History(attempt=2), delay_s=600)
    of = one.look()["l4"].of
    assert of is not None
    assert (of.waiting, of.in_flight) == (9, 1)
    one.queues.ack([held])
    assert one.look()["l4"].wanted.replicas >= 1


def test_a_message_weighs_what_its_recipe_asks_for(fleet: Make) -> None:
    one, units = fleet(), Units("vicuna-7b")
    one.put(L4, 3, recipe(frames=2))
    one.put(L4, 2, recipe(segments="8"))
    one.queues.redis.lpush(f"{one.queues.prefix}{L4}", "no message of ours")
    of = one.look()["l4"].of
    assert of is not None
    assert of.waiting == pytest.approx(3 * units.of(Effort(2), "l4") + 2 * 8 + 1)


def test_of_a_long_queue_some_are_read_from_all_along_it(fleet: Make) -> None:
    one = fleet()
    one.put(L4, 1500)
    one.put(L4, 1500, recipe(segments="5"))
    of = one.look()["l4"].of
    assert of is not None
    assert of.waiting == pytest.approx(3000 * 3, rel=0.03)


def test_what_is_in_flight_is_of_the_class_that_it_was_put_for(fleet: Make) -> None:
    one = fleet()
    one.put(T4, 4)
    one.put(H100, 1)
    one.take(T4, 3)
    one.take(H100, 1)
    told = {name: answer.of for name, answer in one.look().items()}
    assert told["t4"] and (told["t4"].waiting, told["t4"].in_flight) == (1, 3)
    assert told["h100"] and (told["h100"].waiting, told["h100"].in_flight) == (0, 1)


def test_one_job_among_many_of_others_keeps_its_class_from_zero(fleet: Make) -> None:
    one = fleet()
    one.put(T4, 3 * READ_WHOLE)
    one.take(T4, 3 * READ_WHOLE)
    one.put(H100, 1)
    one.take(H100, 1)
    one.worker("h100", in_hand_of={H100: [1, 1.0]})
    for _ in range(5):  # of leases so many are drawn by lot
        answers = one.look()
        assert answers["h100"].wanted.replicas == 1
        of = answers["t4"].of
        assert of and of.in_flight == pytest.approx(3 * READ_WHOLE, rel=0.02)


def test_what_arrives_is_counted_and_what_is_fed_is_not(fleet: Make) -> None:
    one = fleet()
    one.put(L4, 60, recipe(segments="2"))
    for lease in one.take(L4, 59):
        one.queues.ack([lease])
    one.feed(f"{L4}.bulk", 500)
    of = one.look()["l4"].of
    assert of is not None
    assert of.waiting == 2 + 500
    assert of.demand.arrival_per_s == 0  # this minute is not over
    counted = {
        one.queues.redis.get(f"{one.queues.prefix}put:{L4}:{minute % 16}")
        for minute in (minute_of(one) - 1, minute_of(one))
    }
    assert any(told and told.endswith(b" 60") for told in counted)
    # Six of the last ten minutes were like this one, and in one much came at once.
    for ago in range(1, 7):
        minute = minute_of(one) - ago
        key = f"{one.queues.prefix}put:{L4}:{minute % 16}"
        one.queues.redis.set(key, f"{minute} {60 if ago > 1 else 6000}")
    one.queues.redis.set(f"{one.queues.prefix}put:{L4}.bulk:{minute_of(one) % 16}", "1 1")
    of = one.look()["l4"].of
    assert of and of.demand.arrival_per_s == pytest.approx(2.0)


def test_the_oldest_is_the_one_that_is_next_and_no_backlogs(fleet: Make) -> None:
    one = fleet()
    prefix = one.queues.prefix
    seconds, _ = one.queues.redis.time()
    one.queues.redis.lpush(f"{prefix}{L4}.bulk", f"{1000 * (seconds - 5000)}\n\nold")
    one.queues.redis.lpush(f"{prefix}{L4}", f"{1000 * (seconds - 300)}\n\nold")
    one.put(L4, 1)
    of = one.look()["l4"].of
    assert of is not None
    assert of.demand.oldest_s == pytest.approx(300, abs=30)


@pytest.mark.parametrize("how", ["handed back", "later", "again", "redriven", "alone"])
def test_how_long_ago_what_came_back_was_put_tells_nothing(fleet: Make, how: str) -> None:
    one = fleet()
    one.worker("l4", units_per_full_s=2.0)
    one.put(L4, 5000)
    queues, before = one.queues, one.look()["l4"]
    seconds, _ = queues.redis.time()
    old = f"{1000 * (seconds - 3600)}\n"
    if how == "alone":
        queues.redis.rpush(f"{queues.prefix}{L4}:alone", f"{old}{History(deaths=2).dump()}\nold")
    else:
        queues.redis.rpush(f"{queues.prefix}{L4}", f"{old}\nold")
        (lease,) = one.take(L4, 1)
        if how == "redriven":
            queues.poison(lease, "a test")
            (entry,) = queues.redis.lrange(f"{queues.prefix}poison", 0, -1)
            queues.redis.delete(f"{queues.prefix}{L4}")
            queues.run("redrive", entry, "other")
        else:
            history = History(attempt=2) if how == "again" else None
            queues.release(lease, history, delay_s=600 if how == "later" else 0)
    after = one.look()["l4"]
    assert after.of and after.of.demand.oldest_s < 60 * SLOWEST
    if how != "redriven":
        assert after.wanted.replicas == before.wanted.replicas


def test_who_drains_keeps_nobody_running(fleet: Make) -> None:
    one = fleet()
    held = {"units_per_full_s": 1.0, "drain_s": 10.0, "in_hand_of": {L4: [1, 50.0]}}
    one.worker("l4", **held)
    one.worker("l4", **held, draining=True)
    of = one.look()["l4"].of
    assert of and of.lasting == 1


LONG = recipe(segments="8")


def test_what_was_handed_on_wants_no_more_than_run(fleet: Make) -> None:
    """Whoever is started for it would hand it on, too; but where none runs, one may be able."""
    one = fleet(scale_classes=("l4",))
    one.put(L4, 600, LONG)
    many = one.look()["l4"].wanted.replicas
    assert many > 3
    for lease in one.take(L4, 600):
        one.queues.release(lease, None, delay_s=600)
    assert one.look()["l4"].wanted.replicas == 1
    for _ in range(3):
        one.worker("l4")
    assert one.look()["l4"].wanted.replicas == 3
    one.put(L4, 600, LONG)
    assert one.look()["l4"].wanted.replicas == many


def test_what_lies_in_a_bucket_that_is_away_wants_one_that_asks_for_it(fleet: Make) -> None:
    one = fleet(scale_classes=("l4",))
    one.put(L4, 600, LONG)
    many = one.look()["l4"].wanted.replicas  # nobody has said it yet
    for _ in range(2):
        one.worker("l4", away=["a", "b"])
    assert one.look()["l4"].wanted.replicas == 1
    one.worker("l4", away=["a"])  # this one reads it
    assert one.look()["l4"].wanted.replicas == many > 3


def test_while_all_are_paused_no_more_are_wanted_than_run(fleet: Make) -> None:
    one = fleet(scale_classes=("l4",))
    one.put(L4, 600, LONG)
    many = one.look()["l4"].wanted.replicas
    for _ in range(2):
        one.worker("l4", paused={"output": "S3 answers 503"})
    assert one.look()["l4"].wanted.replicas == 2
    one.worker("l4", paused={})
    assert one.look()["l4"].wanted.replicas == many > 3


def test_what_waits_in_sqs_counts_for_the_class_of_uploads(fleet: Make) -> None:
    one = fleet(scale_classes=("l4",))
    one.put(T4, 20, recipe(segments="3"))
    of = one.look(outside=Outside(1000, growth_per_s=(50.0,) * 10))["l4"].of
    assert of is not None
    assert of.waiting == 1020 * 3
    assert of.demand.arrival_per_s == pytest.approx(150)
    # The listener takes from there what came before: nothing of it arrives.
    of = one.look(outside=Outside(1000, growth_per_s=(-50.0,) * 10))["l4"].of
    assert of and of.demand.arrival_per_s == 0


def minute_of(fleet: Fleet) -> int:
    seconds, _ = fleet.queues.redis.time()
    return int(seconds) // 60


# Which class does it


@pytest.mark.parametrize(
    ("scaled", "does"),
    [
        (("t4", "l4", "a100", "h100"), {T4: "t4", L4: "l4", H100: "h100"}),
        (("l4",), {T4: "l4", f"{T4}.bulk": "l4", L4: "l4", H100: None}),
        (("h100", "l4"), {T4: "l4", "caption.a100": "h100", H100: "h100"}),
        (("cpu", "a100"), {T4: "cpu", L4: "a100", H100: None}),
        (("cpu", "t4"), {T4: "t4", L4: None}),
    ],
)
def test_work_of_a_class_without_workers_falls_to_the_next_larger_one(
    scaled: tuple[CardName, ...], does: dict[str, CardName | None]
) -> None:
    assert {queue: class_of(queue, scaled) for queue in does} == does


def test_work_that_no_scaled_class_may_do_is_told(fleet: Make) -> None:
    one = fleet(scale_classes=("t4",))
    one.put(H100, 7)
    found = look_once(one.settings, one.queues, one.training)
    assert found.answers["t4"].wanted.replicas == 0
    assert "7 messages of caption.h100" in found.unknown[H100]


# How fast


def test_the_rate_is_the_median_of_live_workers_then_the_last_ones_then_the_pages(
    fleet: Make,
) -> None:
    one = fleet()

    def rate() -> tuple[float, str]:
        of = one.look()["l4"].of
        assert of is not None
        return of.demand.rate, of.notes[0].how

    assert rate() == (Units("vicuna-7b").rate("l4"), pytest.approx(rate()[1]))
    assert "docs/cards.md" in rate()[1]
    workers = [one.worker("l4", units_per_full_s=told) for told in (1.0, 4.0, 2.0, None)]
    one.worker("t4", units_per_full_s=9.0)
    assert rate() == (2.0, "the median of 3 live workers, lately")
    for worker in workers:
        worker.leave()
    assert rate() == (2.0, "by the last worker that had its hands full")


def test_a_cold_start_is_that_of_nine_in_ten_and_outlives_its_workers(fleet: Make) -> None:
    one = fleet(machine_start_s=100.0)

    def start() -> float:
        of = one.look()["a100"].of
        assert of is not None
        return of.demand.cold_start_s

    assert start() == 100 + PRESUMED_START_S
    for took_s in range(1, 11):
        worker = one.worker("a100", cold_start_s=float(took_s))
        worker.beat({"card": "a100", "cold_start_s": 99.0}, [])  # it has started once
        worker.leave()
    assert start() == 109
    for _ in range(60):
        one.worker("a100", cold_start_s=30.0).leave()
    assert start() == 130
    told = one.queues.redis.hget(f"{one.queues.prefix}learned", "starts:a100")
    assert told is not None and len(told.split()) == 50  # type: ignore[union-attr]


def test_workers_of_an_older_version_say_less(fleet: Make) -> None:
    one = fleet()
    one.put(T4, 3 * READ_WHOLE)
    one.take(T4, 3 * READ_WHOLE)
    one.worker("h100", in_hand=2)
    one.worker("l4", in_hand="odd", in_hand_of=["odd"], units_per_full_s="odd", drain_s=None)
    one.queues.beat({}, [])
    answers = one.look()
    assert answers["h100"].wanted.replicas == 1 and answers["h100"].running == 1
    assert answers["l4"].wanted.replicas == 0 and answers["l4"].running == 1


# Backlogs


def test_a_backlog_does_not_want_ever_more_workers_for_what_they_hold(fleet: Make) -> None:
    """The more workers, the more the feeder puts and the more they hold."""
    one = fleet(slo_s=900.0)
    one.feed(f"{L4}.bulk", 120, recipe(segments="100"))
    for number in range(3):
        one.worker("l4", units_per_full_s=1.0)
        one.take(f"{L4}.bulk", 20)
        wanted = one.look()["l4"].wanted.replicas
        # 20 jobs of 100 units fewer wait, and what is held is one replica's at the most.
        left = 12_000 - 2000 * (number + 1)
        assert wanted == math.ceil((left + min(900, 2000)) / (900 - PRESUMED_START_S) - LITTLE)


def test_a_deadline_wants_what_is_not_fed_yet(fleet: Make) -> None:
    one = fleet()
    one.worker("l4", units_per_full_s=2.0)
    unfed = Unfed(f"{L4}.bulk", recipe(), 72_000, 7200.0 + PRESUMED_START_S)
    answer = one.look([unfed])["l4"]
    assert answer.wanted.replicas == 5
    assert answer.of and answer.of.due == 72_000
    assert one.look([replace(unfed, queue=f"{H100}.bulk")])["l4"].wanted.replicas == 0


# Training


def test_training_wants_one_for_each_job_that_waits_or_runs(fleet: Make) -> None:
    one = fleet()
    one.training.put("train", ["a", "b", "c"])
    taken = one.training.take(one.training.new_lease(), ["train"])
    assert taken
    one.training.beat({"queues": ["train"]}, [taken.lease])
    answer = one.look()[TRAIN]
    assert (answer.wanted.replicas, answer.running) == (3, 1)
    told = answer.dump()
    assert (told["waiting"], told["in_flight"]) == (2, 1)
    assert told["reason"] == "2 training jobs wait and 1 run"


# What cannot be said


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_old_is_told_as_such_and_never_as_a_number(fleet: Make) -> None:
    one, clock = fleet(), Clock()
    away = False

    def look() -> Any:
        if away:
            raise BrokerUnavailable("Redis does not answer")
        return look_once(one.settings, one.queues, one.training)

    answers = Answers(look, 30, clock=clock)
    with pytest.raises(NotKnown, match="nothing was measured yet"):
        answers.of("l4")
    answers.refresh()
    away = True
    for _ in range(3):
        clock.now += LOOK_S
        with pytest.raises(BrokerUnavailable):
            answers.refresh()
        assert answers.of("l4").wanted.replicas == 0
    clock.now += STALE_S
    with pytest.raises(NotKnown, match="s old: Redis does not answer"):
        answers.of("l4")
    with pytest.raises(NotKnown):
        list(answers.all_of_them())
    away = False
    answers.refresh()
    assert answers.of("l4").wanted.replicas == 0 and answers.age_s == 0


def test_a_redis_that_has_lost_everything_is_not_believed_at_once(fleet: Make) -> None:
    one, clock = fleet(), Clock()
    one.put(L4, 5)
    one.take(L4, 1)
    answers = Answers(lambda: look_once(one.settings, one.queues, one.training), 30, clock=clock)
    answers.refresh()
    assert answers.of("l4").wanted.replicas == 1
    for key in one.queues.redis.scan_iter(f"{one.queues.prefix}*"):
        one.queues.redis.delete(key)
    answers.refresh()
    with pytest.raises(NotKnown, match="Redis has lost what it knew"):
        answers.of("l4")
    clock.now += 31
    answers.refresh()
    assert answers.of("l4").wanted.replicas == 0


def test_tenants_have_lists_of_their_own(fleet: Make) -> None:
    one = fleet()
    one.queues.put(L4, {Share("acme"): messages(jobs(2))})
    one.put(L4, 1)
    one.feed(L4 + BULK, 1)
    waiting = take_snapshot(one.queues, CAPTION_QUEUES).waiting
    assert (waiting[L4].messages, waiting[L4 + BULK].messages) == (3, 1)


def test_what_is_put_back_for_a_new_tenant_is_seen_and_weighed(fleet: Make) -> None:
    before = fleet()
    before.put(L4, 3)
    for lease in before.take(L4, 3):
        before.queues.poison(lease, "a test")
    after = Fleet(before.settings.model_copy(update={"tenants": {"s3://b/": "news:3"}}))
    assert put_back(after.queues, list(all_set_aside(after.queues))) == 3
    assert after.queues.waiting_by_tenant(L4) == {OTHER: 0, "news": 3}
    assert after.look()["l4"].wanted.replicas == 1
    after.queues.put(L4, {Share(OTHER): ["m"] * 9})
    taken = [after.queues.take(after.queues.new_lease(), [L4]) for _ in range(4)]
    assert Counter(one.tenant for one in taken if one) == {"news": 3, OTHER: 1}


def test_what_sqs_holds_is_asked_for_now_and_then_and_its_growth_by_the_minute(
    aws: dict[str, str],
) -> None:
    sqs, clock = sqs_client(), Clock()
    url = sqs.create_queue(QueueName=f"jamak-test-{uuid4().hex[:8]}")["QueueUrl"]
    try:
        uploads = Uploads(sqs, url, clock)
        assert uploads.look() == Outside(0)
        for _ in range(6):
            sqs.send_message(QueueUrl=url, MessageBody="{}")
        assert uploads.look() == Outside(0)  # asked just now
        clock.now += 30
        assert uploads.look() == Outside(6)
        clock.now += 30
        assert uploads.look() == Outside(6, (0.1,))
    finally:
        sqs.delete_queue(QueueUrl=url)
    clock.now += 30
    with pytest.raises(NoSuchQueue):
        uploads.look()
