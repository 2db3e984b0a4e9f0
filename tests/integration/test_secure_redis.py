"""A Redis as production has it: TLS, and one ACL user for each role, as infra/redis has them."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from infra.local.processes import stop
from infra.local.procfile import ROOT
from infra.local.redis import start_redis
from producer.jobs.fleet import fleet_reading
from producer.jobs.set_aside import all_set_aside, put_back
from producer.jobs.training import Training, new_job_id
from producer.scaling.answers import look_once
from producer.scaling.scale_in import ScaleIn
from shared.broker.apps import caption_prefix, leased_queues, train_prefix
from shared.broker.held import Holds
from shared.broker.proofs import (
    CAPTIONER,
    HOLDER,
    PRODUCER,
    READER,
    SENDING,
    SHARING,
    TELLING,
    TRAINER,
    WEIGHER,
    commands_of,
    prove_broker,
    prove_captioner,
    prove_holder,
    prove_producer,
    prove_reader,
    prove_results,
    prove_telling,
    prove_trainer,
    prove_weigher,
)
from shared.broker.told_results import Results
from shared.errors import BrokerRefuses
from tests.captioner import Captioner
from tests.redis_users import USERS, add_user, has_keys_to_read_alone
from tests.scaling import Fleet, recipe
from tests.tls import make_certificate, tls_proxy
from tests.training import make_job
from tests.verbs import jamak
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model]

BOTH = {"captions", "training"}
MISSES = "Grant it +hrandfield +lrange, "
ROLES = ["producer", "operator", "worker", "trainer", "retrainer", "autoscaler"]


@pytest.fixture
def secure(aws: dict[str, str], buckets: tuple[str, str], tmp_path: Path) -> Iterator[World]:
    """Its address is the worker's."""
    server = start_redis(tmp_path / "redis")
    with redis.Redis.from_url(server.url) as admin:
        for name, rules in USERS.items():
            if name != "default":  # by whom we are here
                add_user(admin, name, rules)
            if name == "jamak-operator":  # one that somebody wrote down by hand
                clerk = [*rules, "resetpass", ">change-me-clerk", "-lrem"]
                add_user(admin, "jamak-clerk", clerk)
            if (
                name == "jamak-autoscaler"
            ):  # as it was before it looked at messages and held workers
                less = ("-lrange", "-hrandfield", "-zadd", "-zrem")
                counter = [*rules, "resetpass", ">change-me-counter", *less]
                add_user(admin, "jamak-counter", counter)
    certificate, key = make_certificate(tmp_path)
    with tls_proxy(certificate, key, server.port) as port:
        url = f"rediss://jamak-worker:change-me-worker@127.0.0.1:{port}/0"
        yield World(*buckets, url, {**aws, "JAMAK_REDIS_CA_FILE": str(certificate)}, "jamak")
    server.stop()


def as_role(world: World, role: str) -> World:
    return replace(world, redis_url=world.redis_url.replace("worker", role))


def test_captions_come_over_tls_with_a_user_for_each_role(secure: World, tmp_path: Path) -> None:
    producer, autoscaler = as_role(secure, "producer"), as_role(secure, "autoscaler")
    worker = Captioner(secure, tmp_path)
    try:
        worker.wait()
        job = secure.job(secure.upload(write_clip(tmp_path / "a.mp4", 12), "secure.mp4"))
        producer.send(job)
        assert secure.caption(job).text
        for verb in (
            ("backlog", "start", "secure", f"s3://{secure.videos}/"),
            ("reconcile", "secure"),
            ("failures", "redrive", "--go"),
            ("backlog", "cancel", "secure"),
        ):
            jamak(producer, *verb, "--json")
        assert json.loads(jamak(autoscaler, "backlog", "status", "secure", "--json").stdout)
        for role in (producer, autoscaler):
            done = jamak(role, "status", "--json")
            assert len(json.loads(done.stdout)["queues"]["caption.t4"]["workers"]) == 1
    finally:
        stop([worker.process], patience_s=20)
    log = worker.process.log.read_text()
    assert "no permission" not in log.lower()
    assert worker.process.poll() == 0


@pytest.mark.parametrize("role", ROLES)
def test_nobody_may_do_what_is_not_his(secure: World, role: str) -> None:
    client = redis.Redis.from_url(
        as_role(secure, role).redis_url, ssl_ca_certs=secure.aws["JAMAK_REDIS_CA_FILE"]
    )
    mine, other = "jamak:", "jamak-train:"
    if role in ("trainer", "retrainer"):
        mine, other = other, mine
    refused: list[tuple[str, ...]] = [
        ("FLUSHALL",),
        ("CONFIG", "GET", "requirepass"),
        ("ACL", "LIST"),
        ("KEYS", "*"),
        ("SHUTDOWN",),
        ("LPUSH", "somebody-elses", "x"),
        ("SUBSCRIBE", "channel"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"),
    ]
    if role in ("worker", "trainer", "retrainer", "producer"):
        refused += [("LPUSH", f"{other}q", "x"), ("HGETALL", f"{other}unacked")]
    if role in ("producer", "operator", "retrainer"):
        refused += [
            ("RPOP", f"{mine}q"),
            ("HDEL", f"{mine}unacked", "x"),
        ]
    if role == "autoscaler":
        refused += [("LPUSH", f"{mine}q", "x"), ("EVAL", "return 1", "0")]
        refused += [("ZADD", f"{mine}{key}", "1", "x") for key in ("workers", "leases", "held:x")]
        refused += [("ZREM", f"{other}held", "x")]
    for command in refused:
        with pytest.raises(redis.ResponseError, match=r"(?i)permission|can't run|acl"):
            client.execute_command(*command)
    client.close()


@pytest.mark.parametrize(("role", "seen"), [("producer", {"captions"}), ("operator", BOTH)])
def test_the_feeder_reads_what_it_may_of_the_fleet(
    secure: World, role: str, seen: set[str]
) -> None:
    settings = as_role(secure, role).settings
    captions, training = (
        leased_queues(settings, prefix(settings)) for prefix in (caption_prefix, train_prefix)
    )
    told = list(fleet_reading(captions, training, lambda: {"backlog": 1}).collect())
    assert "jamak_queue_messages" in {family.name for family in told}
    (in_flight,) = (family for family in told if family.name == "jamak_messages_in_flight")
    assert {sample.labels["work"] for sample in in_flight.samples} == seen
    status = json.loads(jamak(as_role(secure, role), "status", "--json").stdout)
    assert set(status["in_flight"]) == seen
    assert set(status["hidden"]) == BOTH - seen


def test_an_autoscaler_weighs_what_it_may_read_and_else_counts(secure: World) -> None:
    fleet = Fleet(secure.settings)
    fleet.put("caption.l4", 8, recipe(segments="5"))
    fleet.take("caption.l4", 2)
    fleet.worker("l4", in_hand_of={"caption.l4": [2, 10.0]})
    seen = {}
    for role in ("autoscaler", "counter"):
        settings = as_role(secure, role).settings
        captions, training = (
            leased_queues(settings, prefix(settings)) for prefix in (caption_prefix, train_prefix)
        )
        with capture_logs() as told:
            prove_weigher(captions)
        cures = [one["cure"] for one in told]
        assert [cure[: len(MISSES)] for cure in cures] == ([] if role == "autoscaler" else [MISSES])
        of = look_once(settings, captions, training).answers["l4"].of
        assert of is not None
        seen[role] = of.waiting, of.in_flight, of.demand.oldest_s > 0
    assert seen == {"autoscaler": (30, 10, True), "counter": (6, 2, False)}


@pytest.mark.parametrize("role", ["autoscaler", "counter"])
def test_a_scaler_that_may_not_hold_workers_says_so_and_goes_on(secure: World, role: str) -> None:
    may = role == "autoscaler" and has_keys_to_read_alone(secure.queues.redis)
    fleet = Fleet(secure.settings)
    worker = fleet.worker("l4", pod="p", held=False)
    settings = as_role(secure, role).settings
    captions, training = (
        leased_queues(settings, prefix(settings)) for prefix in (caption_prefix, train_prefix)
    )
    holds = Holds(captions)
    with capture_logs() as told:
        prove_holder(captions)
        assert holds.held() == set()
        found = ScaleIn(lambda costs: None, holds).prepare(look_once(settings, captions, training))
    assert [one["log_level"] for one in told] == ([] if may else ["warning"] * 2)
    assert found.answers["l4"].wanted.replicas == (1 if may else 0)
    assert holds.held() == ({worker.worker} if may else set())


def test_an_operator_may_see_and_redrive_what_was_set_aside(secure: World) -> None:
    operator, worker = (
        leased_queues(as_role(secure, role).settings, caption_prefix(secure.settings))
        for role in ("producer", "worker")
    )
    operator.put("caption.h100", ["rubbish"])
    delivery = worker.take(worker.new_lease(), ["caption.h100"])
    assert delivery is not None
    assert worker.poison(delivery.lease, "a test")
    (found,) = all_set_aside(operator)
    assert put_back(operator, [found]) == 1


def test_a_trainer_may_do_all_that_its_queue_needs(secure: World) -> None:
    trainer = as_role(secure, "trainer")
    queues = leased_queues(trainer.settings, train_prefix(trainer.settings))
    queues.put("train", ["m", "m", "m"])
    queues.beat({"queues": ["train"]}, [])
    for settle in ("ack", "release", "poison"):
        delivery = queues.take(queues.new_lease(), ["train"], passed_over=1)
        assert delivery is not None
        assert queues.renew(delivery.lease)
        if settle == "ack":
            assert queues.ack([delivery.lease]) == 1
        elif settle == "release":
            assert queues.release(delivery.lease, delivery.history, delay_s=60)
        else:
            assert queues.poison(delivery.lease, "a test")
    queues.wait(["train"], 0.1)
    queues.leave()


def test_a_producer_may_not_send_a_training(secure: World) -> None:
    """Who may, decides what all captions say from then on."""
    producer = as_role(secure, "producer")
    secure.store.put(secure.output, "set/manifest.jsonl", b"{}")
    training = Training(producer.settings, producer.store, producer.training)
    with pytest.raises(BrokerRefuses, match="permission"):
        training.submit(make_job(id=new_job_id(), data=f"s3://{secure.output}/set/manifest.jsonl"))
    assert secure_queue(secure) == 0
    told = jamak(producer, "train", "list", code=78).stderr
    assert "does not let this user do its work" in told


def secure_queue(secure: World) -> int:
    trainer = as_role(secure, "trainer").settings
    return leased_queues(trainer, train_prefix(trainer)).waiting("train")


def test_an_operator_may_send_see_and_cancel_a_training(secure: World) -> None:
    producer = as_role(secure, "operator")
    secure.store.put(secure.output, "set/manifest.jsonl", b"{}")
    training = Training(producer.settings, producer.store, producer.training)
    job = make_job(id=new_job_id(), data=f"s3://{secure.output}/set/manifest.jsonl")
    training.submit(job)
    assert training.job(job.id).state == "queued"
    assert training.cancel(job.id) == "cancelled"


def test_who_may_not_take_does_not_start(secure: World, tmp_path: Path) -> None:
    worker = Captioner(as_role(secure, "producer"), tmp_path)
    try:
        wait_until(lambda: worker.process.poll() is not None, 120, "its end")
    finally:
        told = worker.process.log.read_text()
        print(told)
        stop([worker.process], patience_s=5)
    assert worker.process.poll() == 78
    assert "users.acl" in told


def test_a_command_that_a_worker_lacks_is_named_before_it_takes_anything(secure: World) -> None:
    prove_captioner(leased_queues(secure.settings, caption_prefix(secure.settings)))
    trainer = as_role(secure, "trainer")  # it counts no lines, and may not
    queues = leased_queues(trainer.settings, train_prefix(trainer.settings))
    prove_trainer(queues)
    with pytest.raises(BrokerRefuses, match="run expire, getbit, sadd, setbit, smembers") as caught:
        prove_captioner(queues)
    assert "+expire +getbit" in caught.value.cure
    assert "users.acl" in caught.value.cure
    with pytest.raises(BrokerRefuses, match="keys that begin with jamak:"):
        prove_trainer(leased_queues(trainer.settings, caption_prefix(trainer.settings)))


def test_a_command_that_a_sender_lacks_is_named_before_it_sends_anything(secure: World) -> None:
    producer = as_role(secure, "producer")
    prove_broker(leased_queues(producer.settings, caption_prefix(producer.settings)))
    reader = as_role(secure, "autoscaler")
    queues = leased_queues(reader.settings, caption_prefix(reader.settings))
    prove_reader(queues)
    with pytest.raises(BrokerRefuses, match=r"run expire, .*, script\|load, set"):
        prove_producer(queues)
    for verb in (
        ("enqueue", f"s3://{secure.videos}/"),
        ("backlog", "start", "mine", f"s3://{secure.videos}/"),
        ("reconcile", f"s3://{secure.videos}/"),
        ("failures", "redrive", "--go"),
        ("backlog", "cancel", "mine"),
        ("backlog", "delete", "mine", "--yes", "--force"),
    ):
        assert "Grant it +expire" in jamak(reader, *verb, code=78).stderr


def test_who_lacks_a_right_leaves_no_trace(secure: World) -> None:
    clerk = as_role(secure, "clerk")
    secure.store.put(secure.output, "set/manifest.jsonl", b"{}")
    queues = leased_queues(secure.settings, caption_prefix(secure.settings))
    queues.put("caption.h100", ["rubbish"])
    delivery = queues.take(queues.new_lease(), ["caption.h100"])
    assert delivery is not None
    assert queues.poison(delivery.lease, "a test")
    before = secure.times_written("")
    for verb in (
        ("train", "sft", "--data", f"s3://{secure.output}/set/manifest.jsonl"),
        ("poison", "redrive", "--go"),
    ):
        assert "Grant it +lrem" in jamak(clerk, *verb, code=78).stderr
    assert secure.times_written("") == before
    assert secure_queue(secure) == 0
    assert queues.counts()["poison"] == 1


@pytest.mark.parametrize("role", ROLES)
def test_each_user_has_what_its_role_needs(role: str) -> None:
    sends = dict.fromkeys(("producer", "operator"), PRODUCER + SHARING + SENDING)
    needed = {
        **sends,
        "worker": CAPTIONER + TELLING,
        "trainer": TRAINER,
        "retrainer": PRODUCER,
        "autoscaler": READER + WEIGHER + HOLDER,
    }
    granted = {word[1:] for word in USERS[f"jamak-{role}"] if word.startswith("+")}
    assert commands_of(needed[role]) <= granted


def test_each_command_of_a_script_is_tried_at_the_start() -> None:
    scripts = (ROOT / "shared/broker/lua").glob("*.lua")
    called = {
        name.lower() for file in scripts for name in re.findall(r"call\('(\w+)'", file.read_text())
    }
    assert called <= commands_of(CAPTIONER + TELLING) | commands_of(PRODUCER + SENDING)


def test_results_are_told_with_a_user_for_each_role(secure: World) -> None:
    producer, reader = as_role(secure, "producer"), as_role(secure, "autoscaler")
    worker, sends, reads = (
        leased_queues(one.settings, caption_prefix(one.settings))
        for one in (secure, producer, reader)
    )
    prove_telling(worker)
    prove_results(sends)
    worker.redis.lpush(f"{worker.prefix}q", b"7\n\nm")
    delivery = worker.take(worker.new_lease(), ["q"])
    assert delivery is not None
    worker.ack([delivery.lease], {delivery.lease: "{}"})
    results = Results(sends)
    (only,) = results.take(9)
    assert Results(reads).untold().waiting == 1
    for one in (worker, reads):
        with pytest.raises(redis.ResponseError, match=r"(?i)permission|acl"):
            Results(one).take(9)
    results.done([only])
    assert Results(reads).untold().waiting == 0


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: World) -> None:
    done = jamak(replace(secure, aws={**secure.aws, "JAMAK_REDIS_CA_FILE": ""}), "status", code=78)
    assert "Redis's certificate is not trusted" in done.stderr
    assert "JAMAK_REDIS_CA_FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert "change-me" not in done.stderr
