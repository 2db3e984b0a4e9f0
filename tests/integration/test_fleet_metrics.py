"""What Prometheus reads from the feeder and the listener: a real Redis, a real SQS queue."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.metrics import ask, read_metrics
from infra.local.ports import free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT
from producer.backlog.feeder import Feed, Feeder
from producer.jobs.fleet import MOST_BACKLOGS, MOST_REASONS, fleet_reading
from producer.uploads.lag import events_reading
from producer.uploads.sqs import sqs_client
from shared.broker.apps import leased_queues, train_prefix
from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import History, LeasedQueues
from shared.errors import BrokerUnavailable
from shared.telemetry.metrics import SCRAPE_ERROR
from shared.telemetry.reading import Reading
from tests.telemetry import check_log
from tests.world import World

pytestmark = pytest.mark.integration

Told = dict[tuple[str, ...], float]


def read(reading: Reading) -> Told:
    """(name, label values...) -> value."""
    return {
        (family.name, *sample.labels.values()): sample.value
        for family in reading.collect()
        for sample in family.samples
    }


def failed(source: str) -> float:
    """What is said of this source."""
    (family,) = SCRAPE_ERROR.collect()
    return next(one.value for one in family.samples if one.labels == {"source": source})


@pytest.fixture
def queues(world: World) -> Iterator[LeasedQueues]:
    yield world.queues
    for key in world.queues.redis.scan_iter(f"{world.redis_prefix}*"):
        world.queues.redis.delete(key)


@pytest.fixture
def training(world: World) -> LeasedQueues:
    return leased_queues(world.settings, train_prefix(world.settings))


def fleet(queues: LeasedQueues, training: LeasedQueues, **backlogs: int) -> Told:
    return read(fleet_reading(queues, training, lambda: backlogs))


def test_queues_and_their_workers(
    world: World, queues: LeasedQueues, training: LeasedQueues
) -> None:
    queues.put("caption.t4", ["old"])
    time.sleep(0.3)
    queues.put("caption.t4", ["young"])
    training.put("train", ["job"])
    queues.beat({"queues": ["caption.l4", "caption.t4"], "slots": 4, "card": "l4"}, [])
    training.beat({"queues": ["train"], "slots": 1}, [])
    another = leased_queues(world.settings, queues.prefix)
    another.beat({"queues": ["caption.t4"], "slots": 2, "card": "x" * 99}, [])
    third = leased_queues(world.settings, queues.prefix)
    third.beat({"slots": "many", "card": ["odd"]}, [])

    told = fleet(queues, training)
    assert told["jamak_queue_messages", "caption.t4", "waiting"] == 2
    assert told["jamak_queue_messages", "train", "waiting"] == 1
    assert told["jamak_queue_messages", "caption.h100.bulk", "waiting"] == 0
    assert 0.3 <= told["jamak_queue_oldest_age_seconds", "caption.t4"] < 60
    assert told["jamak_queue_oldest_age_seconds", "caption.h100"] == 0
    assert told["jamak_queue_workers", "caption.t4"] == 2
    assert told["jamak_queue_workers", "caption.l4"] == 1
    assert told["jamak_queue_workers", "caption.l4.bulk"] == 0
    assert told["jamak_queue_workers", "train"] == 1
    live = {name: told["jamak_workers", name] for name in ("l4", "t4", "train", "other")}
    assert live == {"l4": 1, "t4": 0, "train": 1, "other": 2}
    assert told["jamak_worker_slots", "l4"] == 4
    assert told["jamak_worker_slots", "other"] == 2
    assert failed("redis") == 0


def test_messages_in_flight_delayed_and_set_aside(
    queues: LeasedQueues, training: LeasedQueues
) -> None:
    def take() -> str:
        delivery = queues.take(queues.new_lease(), ["caption.t4"])
        assert delivery is not None
        return delivery.lease

    queues.put("caption.t4", ["a", "b", "c", "d"])
    queues.release(take(), History(attempt=2), delay_s=600)
    queues.poison(take(), "?")
    take()
    told = fleet(queues, training)
    assert told["jamak_messages_delayed", "captions"] == 1
    assert told["jamak_messages_poison", "captions"] == 1
    assert told["jamak_messages_in_flight", "captions"] == 1
    assert told["jamak_messages_in_flight", "training"] == 0
    assert told["jamak_queue_messages", "caption.t4", "alone"] == 0
    assert told["jamak_queue_messages", "caption.t4", "waiting"] == 1


def test_what_must_run_alone_is_told_apart_and_its_age_counts(
    queues: LeasedQueues, training: LeasedQueues
) -> None:
    queues.put("caption.t4", ["kills"])
    delivery = queues.take(queues.new_lease(), ["caption.t4"])
    assert delivery is not None
    queues.release(delivery.lease, History(deaths=2))
    time.sleep(0.3)
    queues.put("caption.t4", ["young"])
    told = fleet(queues, training)
    assert told["jamak_queue_messages", "caption.t4", "alone"] == 1
    assert told["jamak_queue_messages", "caption.t4", "waiting"] == 1
    assert told["jamak_queue_oldest_age_seconds", "caption.t4"] >= 0.3


def test_what_others_pushed_has_no_age(queues: LeasedQueues, training: LeasedQueues) -> None:
    queues.redis.lpush(f"{queues.prefix}caption.t4", "no item of ours")
    told = fleet(queues, training)
    assert told["jamak_queue_messages", "caption.t4", "waiting"] == 1
    assert told["jamak_queue_oldest_age_seconds", "caption.t4"] == 0


def test_backlogs_by_outcome_and_only_so_many(queues: LeasedQueues, training: LeasedQueues) -> None:
    progress = BacklogProgress(queues, "one")
    progress.feed("caption.t4.bulk", 0, 80, ["{}"] * 80)
    for line in range(10):
        progress.note(line, "done")
    for line in range(10, 13):
        progress.note(line, "failed:truncated")
    BacklogProgress(queues, "two").feed("caption.t4.bulk", 0, 8, ["{}"] * 8)
    BacklogProgress(queues, "two").stop()
    told = fleet(queues, training, one=100, two=8, forgotten=7)
    assert told["jamak_backlogs",] == 2
    assert told["jamak_backlog_videos", "one"] == 100
    assert told["jamak_backlog_fed_videos", "one"] == 80
    assert told["jamak_backlog_ended_videos", "one", "done", ""] == 10
    assert told["jamak_backlog_ended_videos", "one", "failed", "truncated"] == 3
    assert ("jamak_backlog_fed_videos", "two") not in told  # it is cancelled
    assert told["jamak_backlog_ended_videos", "two", "done", ""] == 0
    assert not [labels for labels in told if "forgotten" in labels]

    for line in range(13, 13 + 2 * MOST_REASONS):
        progress.note(line, f"failed:reason-{line}")
    many = {f"b{number}": 1 for number in range(MOST_BACKLOGS + 5)}
    for name in many:
        BacklogProgress(queues, name).feed("caption.t4.bulk", 0, 1, ["{}"])
    told = fleet(queues, training, **many, one=100)
    assert told["jamak_backlogs",] == MOST_BACKLOGS + 6
    shown = [labels[1] for labels in told if labels[0] == "jamak_backlog_videos"]
    assert (len(shown), shown[0], "b0" in shown) == (MOST_BACKLOGS, "one", False)
    reasons = {
        labels[3]: value
        for labels, value in told.items()
        if labels[:3] == ("jamak_backlog_ended_videos", "one", "failed")
    }
    assert len(reasons) == MOST_REASONS + 1
    assert (reasons["truncated"], sum(reasons.values())) == (3, 3 + 2 * MOST_REASONS)
    assert reasons["other"] == MOST_REASONS + 1


def test_while_redis_is_away_there_are_no_figures(training: LeasedQueues) -> None:
    nowhere = LeasedQueues("redis://127.0.0.1:1/0", "x:", 30)
    assert fleet(nowhere, training) == {}
    assert failed("redis") == 1


def test_a_feeder_is_ready_once_a_round_went_through_and_says_why_not() -> None:
    told: list[str | None] = []
    answers: list[Exception | None] = [BrokerUnavailable("Redis does not answer"), None, None]

    def find() -> list[str]:
        told.append(feeder.health.ready())
        error = answers.pop(0)
        if error:
            raise error
        return []

    def never(name: str) -> Feed:
        raise AssertionError(name)

    feeder = Feeder(find, lambda names: [], never, lambda queue: 0, lambda pause_s: not answers)
    feeder.FIND_S = -1.0  # look in every round
    feeder.run()
    nothing = "nothing has worked yet"
    assert told == [nothing, f"{nothing}: Redis does not answer", None]


UNREAD = {"listen": {"sqs", "sqs_dead_letters"}, "feed": {"redis"}, "scale serve": {"scale"}}


@pytest.mark.parametrize("verb", ["listen", "feed", "scale serve"])
def test_who_waits_for_redis_lives_and_is_not_ready(
    world: World, verb: str, tmp_path: Path
) -> None:
    port = free_port()
    own = {
        "JAMAK_REDIS_URL": "redis://127.0.0.1:1/0",
        "JAMAK_EVENTS_QUEUE_URL": f"{world.aws['AWS_ENDPOINT_URL']}/123456789012/nowhere",
        "JAMAK_METRICS_PORT": str(port),
    }
    process = Process(
        verb,
        [sys.executable, "-m", "producer.cli", *verb.split()],
        log=tmp_path / "log",
        env={**os.environ, **world.env, **own},
        cwd=ROOT,
    )
    try:
        process.wait_until(lambda: "waiting for Redis" in process.log.read_text(), 60)
        assert ask(port, "/livez")[0] == 200
        assert ask(port, "/readyz") == (503, '{"ok": false, "reason": "nothing has worked yet"}\n')
        errors = {
            sample.labels["source"]
            for sample in read_metrics(port)
            if sample.name == "jamak_scrape_error" and sample.value
        }
        assert errors == UNREAD[verb]
        if verb == "scale serve":
            status, body = ask(port, "/v1/scale/l4")
            assert (status, "wanted" in json.loads(body)) == (503, False)
        assert "jamak_queue_messages" not in ask(port, "/metrics")[1]
        assert "jamak_sqs_" not in ask(port, "/metrics")[1]
    finally:
        stop([process])
    assert check_log(process.log)


def test_sqs_and_its_dead_letters(aws: dict[str, str]) -> None:
    sqs = sqs_client()
    url, dead = (
        sqs.create_queue(QueueName=f"jamak-test-lag{name}")["QueueUrl"] for name in ("", "-dead")
    )
    try:
        for body in ("a", "b", "c"):
            sqs.send_message(QueueUrl=url, MessageBody=body)
        sqs.send_message(QueueUrl=dead, MessageBody="odd")
        sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)
        events, buried = events_reading(sqs, url, lambda: dead)
        assert read(events) == {
            ("jamak_sqs_messages", "waiting"): 2,
            ("jamak_sqs_messages", "in_flight"): 1,
            ("jamak_sqs_messages", "delayed"): 0,
        }
        assert read(buried) == {("jamak_sqs_dead_letters",): 1}
        # A role may be allowed to ask one of them alone.
        events, buried = events_reading(sqs, url, lambda: f"{dead}-nowhere")
        assert read(events)
        assert read(buried) == {}
        assert (failed("sqs"), failed("sqs_dead_letters")) == (0, 1)
    finally:
        for one in (url, dead):
            sqs.delete_queue(QueueUrl=one)
