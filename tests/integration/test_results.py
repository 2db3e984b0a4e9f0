"""Results are told at least once: from the record to a topic, a bus and a webhook, all real."""

import base64
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis

from infra.local.processes import Process, stop
from infra.local.procfile import ROOT
from producer.jobs.fleet import fleet_reading
from producer.results import sender as sending
from producer.results.sender import MOST_TRIES, Sender
from producer.results.sinks import AT_ONCE, Bus, Topic, Webhook, signature, teller_of
from producer.verbs.captions import status
from shared.broker import told_results
from shared.broker.apps import leased_queues, train_prefix
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_results, prove_telling
from shared.broker.told_results import Results, ToTell
from shared.errors import EmptyCaption
from shared.messages import Decoding
from shared.results import ResultEvent
from shared.sinks import Sink, key_of
from shared.telemetry.metrics import RESULTS_AWAY
from tests.hook import Sent, hook
from tests.verbs import inside
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.caption.captioner import Answer
from workers.delivery.leases import Lease
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TOPIC = "arn:aws:sns:us-east-1:123456789012:results"


class Speaking(Silent):
    def caption(self, *args: Any) -> Answer:
        return Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)
    yield pool
    pool.close()


@pytest.fixture
def told(world: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """Whose results are told."""
    prefix = f"{world.redis_prefix}-{request.node.name[:30]}"
    yield replace(world, redis_prefix=prefix, aws={**world.aws, "JAMAK_RESULTS": TOPIC})
    for key in world.queues.redis.scan_iter(f"{prefix}*"):
        world.queues.redis.delete(key)


def event(number: int = 0, **more: object) -> str:
    return ResultEvent(
        id=f"job-{number}",
        status="ok",
        record=f"s3://out/{number}.json",
        video={"uri": f"s3://in/{number}.mp4", "etag": "e", "size_bytes": 1},  # type: ignore[arg-type]
        recipe="r",
        tenant="other",
        created_at=datetime.now(UTC),
        **more,  # type: ignore[arg-type]
    ).model_dump_json(exclude_none=True)


def ended(queues: LeasedQueues, *events: str) -> None:
    """Jobs that ended like this."""
    for one in events:
        queues.put("q", ["m"])
        delivery = queues.take(queues.new_lease(), ["q"])
        assert delivery is not None
        assert queues.ack([delivery.lease], {delivery.lease: one}) == 1


def waiting(queues: LeasedQueues) -> list[str]:
    found: Any = queues.redis.xrange(f"{queues.prefix}results")
    return [fields[b"event"].decode() for _, fields in found]


# From the record into Redis.


def end(world: World, lease: Lease) -> list[dict[str, Any]]:
    """Acknowledge it, as its worker does; all that waits to be told then."""
    world.queues.ack([lease.delivery.lease], {lease.delivery.lease: lease.event})
    return [json.loads(one) for one in waiting(world.queues)]


def test_a_caption_and_a_failure_are_told_with_their_records(
    told: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4", 12)
    job = told.job(told.upload(clip, "told.mp4"))
    lease = taken(told, job)
    work_with(told, Speaking(), decoders).run(job, lease)
    (caption,) = end(told, lease)
    assert caption["video"]["uri"] == job.video.uri
    bucket, _, key = caption["record"].removeprefix("s3://").partition("/")
    record = json.loads(told.store.get(bucket, key))
    assert (record["status"], record["video"]["key"]) == (caption["status"], job.video.key)
    failing = told.job(told.upload(clip, "silent.mp4"))
    lease = taken(told, failing)
    work_with(told, Silent(), decoders).fail(failing, lease, EmptyCaption("nothing"))
    _, failure = end(told, lease)
    assert (failure["status"], failure["reason"]) == ("failed", "empty_caption")
    bucket, _, key = failure["record"].removeprefix("s3://").partition("/")
    assert told.store.exists(bucket, key)
    lease = taken(told, failing)  # it is sent again
    work_with(told, Speaking(), decoders).run(failing, lease)
    *_, second = end(told, lease)
    assert second["status"] == caption["status"]
    assert len({one["id"] for one in (caption, failure, second)}) == 3


def test_who_dies_between_record_and_acknowledgement_leaves_it_to_the_next(
    told: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    job = told.job(told.upload(write_clip(tmp_path / "a.mp4", 12), "died.mp4"))
    lease = taken(told, job)
    work = work_with(told, Speaking(), decoders)
    work.run(job, lease)
    told.queues.release(lease.delivery.lease, None)  # it died: the message came back
    assert end(told, lease) == []  # and a zombie tells nothing
    again = taken(told, job)
    assert work.run(job, again) == "duplicate"
    (only,) = end(told, again)
    assert only["id"] == json.loads(lease.event)["id"]


def test_one_of_several_draws_is_recorded_and_neither_told_nor_shown(
    told: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    video = told.upload(write_clip(tmp_path / "a.mp4", 12), "drawn.mp4")
    first, second = (
        told.job(video, decoding=Decoding(max_new_tokens=12, temperature=1.0, draw=draw))
        for draw in range(2)
    )
    work, lease = work_with(told, Speaking(), decoders), taken(told, first)
    work.run(first, lease)
    assert told.caption(first).recipe.decoding.draw == 0
    assert end(told, lease) == []
    again = taken(told, first)
    assert work.run(first, again) == "duplicate"
    assert end(told, again) == []
    lost = taken(told, second)
    work.fail(second, lost, EmptyCaption("nothing"))
    assert end(told, lost) == []
    assert told.failure(second).recipe.decoding.draw == 1
    views = f"{told.prefix}captions/{told.videos}/drawn"
    assert list(told.store.list(told.output, views)) == []


def test_without_anybody_who_wants_to_hear_nothing_is_kept(
    world: World, decoders: DecoderPool, tmp_path: Path
) -> None:
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "silence.mp4"))
    lease = taken(world, job)
    work_with(world, Speaking(), decoders).run(job, lease)
    assert end(world, lease) == []


def test_no_more_wait_than_fit_and_the_others_are_counted(told: World) -> None:
    queues = told.queues
    fill = "for i = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'event', '{}') end"
    queues.redis.eval(fill, 1, f"{queues.prefix}results")
    ended(queues, event(1), event(2))
    untold = Results(queues).untold()
    assert (untold.waiting, untold.dropped) == (100_000, 2)
    training = leased_queues(told.settings, train_prefix(told.settings))
    families = {one.name: one for one in fleet_reading(queues, training, dict).collect()}
    assert families["jamak_results_waiting"].samples[0].value == 100_000
    assert families["jamak_results_dropped"].samples[0].value == 2


def test_a_full_redis_still_keeps_what_has_ended(told: World) -> None:
    queues = told.queues
    queues.put("q", ["m"])
    delivery = queues.take(queues.new_lease(), ["q"])
    assert delivery is not None
    queues.redis.config_set("maxmemory", 1)
    try:
        assert queues.ack([delivery.lease], {delivery.lease: event()}) == 1
    finally:
        queues.redis.config_set("maxmemory", 0)
    assert len(waiting(queues)) == 1


# From Redis to who wants to hear of it.


def sender(world: World, teller: Any) -> Sender:
    return Sender(Results(world.queues), teller, lambda pause_s: True)


def until_empty(one: Sender) -> None:
    def is_empty() -> bool:
        one.turn()
        return not one._mine and one._results.untold().waiting == 0

    wait_until(is_empty, 5, "all to be told")  # what answers 500 once is asked again a second later


def subscribed(name: str) -> tuple[Any, str, str]:
    """SQS, and the URL and the ARN of a queue of its own."""
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return sqs, url, told["Attributes"]["QueueArn"]


def received(sqs: Any, url: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(20):
        some = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        found += [json.loads(one["Body"]) for one in some.get("Messages", ())]
        if len(found) >= count:
            break
    return found


def test_a_topic_hears_of_each_once(told: World) -> None:
    sns = boto3.client("sns")
    arn = sns.create_topic(Name=told.redis_prefix[-40:])["TopicArn"]
    sqs, url, queue = subscribed(told.redis_prefix[-40:])
    only = {"FilterPolicy": json.dumps({"status": ["ok"]})}
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue, Attributes=only)
    events = [event(number) for number in range(23)]
    ended(told.queues, *events)
    until_empty(sender(told, Topic(Sink.parse(arn))))
    heard = [one["Message"] for one in received(sqs, url, 23)]
    assert sorted(heard) == sorted(events)
    assert waiting(told.queues) == []


def test_a_bus_hears_of_each_once(told: World) -> None:
    buses = boto3.client("events")
    arn = buses.create_event_bus(Name=told.redis_prefix[-40:])["EventBusArn"]
    sqs, url, queue = subscribed(f"{told.redis_prefix[-30:]}-bus")
    name = told.redis_prefix[-40:]
    pattern = json.dumps({"source": ["jamak"], "detail": {"status": ["ok"]}})
    buses.put_rule(Name="all", EventBusName=name, EventPattern=pattern)
    buses.put_targets(Rule="all", EventBusName=name, Targets=[{"Id": "1", "Arn": queue}])
    events = [event(number) for number in range(12)]
    ended(told.queues, *events)
    until_empty(sender(told, Bus(Sink.parse(arn))))
    heard = received(sqs, url, 12)
    assert {one["detail-type"] for one in heard} == {"Jamak result"}
    assert sorted(one["detail"]["id"] for one in heard) == sorted(f"job-{n}" for n in range(12))


def test_a_webhook_gets_what_it_can_check(told: World) -> None:
    with hook() as there:
        key = key_of(SECRET)
        ended(told.queues, *(event(number) for number in range(12)))
        until_empty(sender(told, Webhook(there.address, key, (there.address.partition("?")[0],))))
    assert Counter(json.loads(body)["id"] for _, body in there.got) == {
        f"job-{number}": 1 for number in range(12)
    }
    for headers, body in there.got:
        name, at = headers["webhook-id"], headers["webhook-timestamp"]
        assert headers["webhook-signature"] == signature(key, name, at, body)
        assert json.loads(body)["id"] == name


def webhook(address: str) -> Webhook:
    return Webhook(address, key_of(SECRET), (address.partition("?")[0],))


@pytest.mark.parametrize("code", [302, 401, 404, 429, 503])
def test_while_nobody_hears_they_wait_and_status_says_why(told: World, code: int) -> None:
    codes = [code] * 2
    with hook(lambda sent: codes.pop() if codes else 204) as there:
        ended(told.queues, event())
        one = sender(told, webhook(there.address))
        assert [one.turn(), one.turn()] == [1.0, 2.0]
        assert len(waiting(told.queues)) == 1
        untold = Results(told.queues).untold()
        assert f"HTTP {code}" in untold.why
        assert "secret" not in untold.why
        if code == 503:
            said = inside(told, status)
            assert "results to be told: 1 wait, 0 were dropped" in said.stdout
            assert "results cannot be told: " in said.stderr
        until_empty(one)
        assert Results(told.queues).untold().why == ""
        assert len(there.got) == 3


def test_what_is_refused_by_itself_holds_up_nothing_and_is_given_up(told: World) -> None:
    def answer(sent: Sent) -> int:
        return 422 if b"job-3" in sent[1] else 204

    with hook(answer) as there:
        ended(told.queues, *(event(number) for number in range(25)))
        one = sender(told, webhook(there.address))
        until_empty(one)
    tries = Counter(json.loads(body)["id"] for _, body in there.got)
    assert tries.pop("job-3") == MOST_TRIES
    assert set(tries.values()) == {1}
    assert len(tries) == 24


def test_those_at_which_a_place_fails_hold_up_no_others_and_are_told_in_the_end(
    told: World,
) -> None:
    failing = {f"job-{number}" for number in range(AT_ONCE)}

    def answer(sent: Sent) -> int:
        return 500 if json.loads(sent[1])["id"] in failing else 204

    def tries() -> Counter[str]:
        return Counter(json.loads(body)["id"] for _, body in there.got)

    with hook(answer) as there:
        ended(told.queues, *(event(number) for number in range(AT_ONCE + 5)))
        one = sender(told, webhook(there.address))
        pauses = [one.turn() for _ in range(MOST_TRIES + 1)]
        assert pauses[:3] == [1.0, 2.0, 4.0]
        others = {f"job-{AT_ONCE + number}": 1 for number in range(5)}
        assert others.items() <= tries().items()
        assert min(tries()[name] for name in failing) >= MOST_TRIES
        # From then on each is tried once, and goes behind what has come meanwhile.
        ended(told.queues, event(99))
        one.turn(), one.turn()
        assert tries()["job-99"] == 1
        assert {json.loads(text)["id"] for text in waiting(told.queues)} == failing
        assert len(waiting(told.queues)) == len(failing)
        failing.clear()
        until_empty(one)


def test_what_goes_behind_is_kept_by_a_full_redis_and_put_there_once(told: World) -> None:
    first, second = (Results(leased_queues(told.settings, told.queues.prefix)) for _ in range(2))
    first.prove()
    events = [event(number) for number in range(3)]
    ended(told.queues, *events)
    mine = first.take(2)
    told.queues.redis.config_set("maxmemory", 1)
    try:
        first.put_behind(mine)
    finally:
        told.queues.redis.config_set("maxmemory", 0)
    second.put_behind(mine)  # it was taken for dead
    assert waiting(told.queues) == [events[2], *events[:2]]
    assert [one.late for one in second.take(9)] == [False, True, True]


def test_a_server_of_another_network_is_never_asked(told: World) -> None:
    """Whatever DNS says of the host: here it has its address for a name."""
    with hook() as there:
        port = there.address.split(":")[2]
        ended(told.queues, event())
        one = sender(told, Webhook(f"https://127.0.0.1:{port}", key_of(SECRET), ()))
        assert one.turn() == 1.0
        assert "no public address" in Results(told.queues).untold().why
        assert there.got == []


def test_what_a_dead_sender_had_the_next_one_sends(
    told: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Results(leased_queues(told.settings, told.queues.prefix)) for _ in range(2))
    first.prove()
    ended(told.queues, *(event(number) for number in range(5)))
    assert len(first.take(3)) == 3
    assert len(second.take(9)) == 2
    assert second.take(9) == []
    monkeypatch.setattr(told_results, "SILENT_MS", 0)
    assert len(second.take(9)) == 5


def test_after_redis_has_lost_everything_results_are_told_again(told: World) -> None:
    with hook() as there:
        one = sender(told, webhook(there.address))
        assert one.turn() == sending.LOOK_S
        told.queues.redis.delete(f"{told.queues.prefix}results")
        ended(told.queues, event())
        until_empty(one)
        assert len(there.got) == 1


def away() -> bool:
    """As the alert reads it."""
    return bool(RESULTS_AWAY._value.get())


def test_redis_that_is_gone_for_a_moment_says_nothing_of_who_wants_to_hear(told: World) -> None:
    """Nothing waits, so nothing that is told later would take it back."""
    turns = []

    class Blinks(Results):
        def take(self, most: int) -> list[ToTell]:
            turns.append(most)
            if len(turns) == 2:
                raise redis.ConnectionError("Connection closed by server")
            return super().take(most)

    Sender(Blinks(told.queues), None, lambda pause_s: len(turns) == 4).run()  # type: ignore[arg-type]
    assert len(turns) == 4
    assert not away()
    assert Results(told.queues).untold().why == ""


def test_nobody_is_away_when_another_sender_has_told_it_all(told: World) -> None:
    with hook(lambda sent: 503) as there:
        ended(told.queues, event())
        one = sender(told, webhook(there.address))
        for _ in range(MOST_TRIES):
            one.turn()
        assert away()
        told.queues.redis.xtrim(f"{told.queues.prefix}results", maxlen=0)
        assert one.turn() == sending.LOOK_S
        assert not away()
        assert Results(told.queues).untold().why == ""


def test_the_feeder_tells_what_has_ended(told: World, tmp_path: Path) -> None:
    with hook() as there:
        where = {
            "JAMAK_RESULTS": there.address,
            "JAMAK_RESULTS_SECRET": SECRET,
            "JAMAK_ADDRESSES": there.address.partition("?")[0],
        }
        ended(told.queues, event(1), event(2))
        feeder = Process(
            "feeder",
            [sys.executable, "-m", "producer.cli", "feed"],
            log=tmp_path / "log",
            env={**os.environ, **told.env, **where},
            cwd=ROOT,
        )
        try:
            feeder.wait_until(lambda: len(there.got) == 2, 60)
            wait_until(lambda: Results(told.queues).untold().waiting == 0, 20, "their end")
        finally:
            stop([feeder])
    assert feeder.poll() == 0
    assert "secret" not in feeder.log.read_text()


def test_rights_are_tried_before_anything_is_told(told: World) -> None:
    ended(told.queues, event())
    prove_results(told.queues)
    prove_telling(told.queues)
    assert len(waiting(told.queues)) == 1
    assert len(Results(told.queues).take(9)) == 1
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.env.items():
            patch.setenv(name, value)
        assert isinstance(teller_of(told.settings), Topic)
