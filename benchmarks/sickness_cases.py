"""What makes a fleet ill without killing it: each case has a cause that begins and ends.

A case is a generator: what comes before its `yield` is the cause, what comes after it is its end.
It yields what must have become of the sick things that it planted (`Planted`), if any.
"""

import json
import os
import resource
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil
import redis

from benchmarks.sickness_fleet import ARCHIVE_BUCKET, Fleet
from benchmarks.sickness_fronts import (
    Asked,
    Rule,
    cutting,
    dropping,
    losing_answers,
    mangling,
    page,
    refusing,
    silent,
    trickling,
)
from benchmarks.sickness_members import Member
from infra.local.ports import free_port
from infra.local.redis import start_redis
from infra.local.s3 import OUTPUT_BUCKET, VIDEOS_BUCKET

Planted = Callable[[], int]
"""How many of the sick things have left no trace that an operator would see."""
Cause = Generator[Planted | None, None, None]


@dataclass(frozen=True)
class Case:
    name: str
    begin: Callable[[Fleet], Cause]
    hold_s: float = 8.0
    """How long the cause lasts."""
    stock: bool = False
    """It applies to stock Celery, too: it is about the broker or the store alone."""


CASES: list[Case] = []


def case(
    hold_s: float = 8.0, *, stock: bool = False
) -> Callable[[Callable[[Fleet], Cause]], Callable[[Fleet], Cause]]:
    def listed(begin: Callable[[Fleet], Cause]) -> Callable[[Fleet], Cause]:
        CASES.append(Case(begin.__name__.replace("_", "-"), begin, hold_s, stock))
        return begin

    return listed


# --- a Redis that answers and refuses -------------------------------------------------------------


@case(stock=True)
def redis_full(fleet: Fleet) -> Cause:
    fleet.admin.config_set("maxmemory", 1)
    yield None
    fleet.admin.config_set("maxmemory", 0)


@case(stock=True)
def redis_lacks_replicas(fleet: Fleet) -> Cause:
    fleet.admin.config_set("min-replicas-to-write", 1)
    yield None
    fleet.admin.config_set("min-replicas-to-write", 0)


@case(stock=True)
def redis_read_only(fleet: Fleet) -> Cause:
    fleet.admin.replicaof("127.0.0.1", free_port())
    yield None
    fleet.admin.replicaof("NO", "ONE")


@case(stock=True)
def redis_master_down(fleet: Fleet) -> Cause:
    fleet.admin.config_set("replica-serve-stale-data", "no")
    fleet.admin.replicaof("127.0.0.1", free_port())
    yield None
    fleet.admin.replicaof("NO", "ONE")
    fleet.admin.config_set("replica-serve-stale-data", "yes")


@case(stock=True)
def redis_fails_over(fleet: Fleet) -> Cause:
    """To a replica; the connections to the old primary stay open, and it says READONLY."""
    before = fleet.redis
    folder = fleet.folder / f"redis-{before.port}-replica"
    after = start_redis(folder, password=before.password)
    replica = fleet.client_of(after)
    replica.config_set("masterauth", before.password)
    replica.replicaof("127.0.0.1", before.port)
    fleet.admin.config_set("masterauth", before.password)
    fleet.wait(lambda: replica.info("replication").get("master_link_status") == "up", 30)
    fleet.admin.execute_command("FAILOVER", "TO", "127.0.0.1", after.port)
    fleet.wait(lambda: replica.info("replication")["role"] == "master", 30)
    fleet.swap_redis(after)
    yield None


@case(stock=True)
def redis_stands_still(fleet: Fleet) -> Cause:
    fleet.admin.client_pause(8000)
    yield None


@case(hold_s=12, stock=True)
def redis_falls_silent(fleet: Fleet) -> Cause:
    """As behind a network that has gone: connections stay open, no byte comes."""
    fleet.redis_front.hush()
    yield None
    fleet.redis_front.flow()


@case(stock=True)
def redis_cuts_connections(fleet: Fleet) -> Cause:
    with again_and_again(fleet.redis_front.cut, 0.4):
        yield None


@case(hold_s=3, stock=True)
def redis_killed(fleet: Fleet) -> Cause:
    fleet.redis.kill()
    yield None
    fleet.restart_redis()


@case(stock=True)
def redis_loading(fleet: Fleet) -> Cause:
    """It was started again, and has much to load."""
    with fleet.admin.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"padding:{number}", os.urandom(512), ex=600)
        pipe.execute()
    fleet.admin.bgrewriteaof()  # of a log alone it answers nobody before the end
    fleet.wait(lambda: not fleet.admin.info("persistence")["aof_rewrite_in_progress"], 30)
    fleet.redis.process.signal_group(signal.SIGTERM)
    fleet.wait(lambda: fleet.redis.process.poll() is not None, 30)
    fleet.begin_redis(
        "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"
    )
    yield None
    fleet.admin.config_set("key-load-delay", 0)


@case(stock=True)
def redis_busy(fleet: Fleet) -> Cause:
    """With somebody's script that does not end."""
    fleet.admin.config_set("lua-time-limit", 100)

    def loop() -> None:
        with suppress(redis.RedisError), fleet.client_of(fleet.redis) as client:
            client.eval("while true do end", 0)

    script = threading.Thread(target=loop)
    script.start()
    yield None
    fleet.admin.script_kill()
    script.join()


@case(stock=True)
def redis_misconf(fleet: Fleet) -> Cause:
    """It cannot save, and so takes nothing: where its file should be there is a folder."""
    in_its_way = fleet.redis.process.log.parent / "dump.rdb"
    fleet.admin.config_set("save", "3600 1000000")
    in_its_way.mkdir()
    fleet.admin.bgsave()
    yield None
    in_its_way.rmdir()
    fleet.admin.config_set("save", "")


@case()
def redis_denies_counting(fleet: Fleet) -> Cause:
    fleet.admin.execute_command("ACL", "SETUSER", "default", "-setbit", "-bitcount")
    yield None
    fleet.admin.execute_command("ACL", "SETUSER", "default", "+setbit", "+bitcount")


@case()
def redis_denies_scripts(fleet: Fleet) -> Cause:
    fleet.admin.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
    yield None
    fleet.admin.execute_command("ACL", "SETUSER", "default", "+eval", "+evalsha")


# --- a store that is out, or answers wrongly ------------------------------------------------------


def everything(asked: Asked) -> bool:
    return True


def of_s3(asked: Asked) -> bool:
    return not asked.of_sqs


def writes(asked: Asked) -> bool:
    return of_s3(asked) and asked.method in ("PUT", "DELETE") and asked.bucket == OUTPUT_BUCKET


def of_videos(asked: Asked) -> bool:
    return of_s3(asked) and asked.bucket in (VIDEOS_BUCKET, ARCHIVE_BUCKET)


def video_bodies(asked: Asked) -> bool:
    return of_videos(asked) and asked.method == "GET" and bool(asked.key)


def own_objects(asked: Asked) -> bool:
    return of_s3(asked) and asked.method == "GET" and asked.bucket == OUTPUT_BUCKET


@contextmanager
def ruled(fleet: Fleet, rule: Rule) -> Iterator[None]:
    fleet.s3_front.rules.append(rule)
    try:
        yield
    finally:
        fleet.s3_front.rules.remove(rule)


@case(stock=True)
def store_unavailable(fleet: Fleet) -> Cause:
    with ruled(fleet, refusing(503, "SlowDown", everything)):
        yield None


@case(stock=True)
def store_refuses_writes(fleet: Fleet) -> Cause:
    with ruled(fleet, refusing(500, "InternalError", writes)):
        yield None


@case()
def store_refuses_videos(fleet: Fleet) -> Cause:
    with ruled(fleet, refusing(500, "InternalError", of_videos)):
        yield None


@case(hold_s=12, stock=True)
def store_falls_silent(fleet: Fleet) -> Cause:
    ended = threading.Event()
    with ruled(fleet, silent(ended, everything)):
        yield None
    ended.set()


@case(stock=True)
def store_drops_connections(fleet: Fleet) -> Cause:
    with ruled(fleet, dropping(everything)):
        yield None


@case(stock=True)
def store_loses_answers(fleet: Fleet) -> Cause:
    """What was written is written, and nobody hears of it."""
    with ruled(fleet, losing_answers(writes)):
        yield None


@case(stock=True)
def store_is_a_login_page(fleet: Fleet) -> Cause:
    with ruled(fleet, page(of_s3)):
        yield None


@case()
def store_cuts_bodies(fleet: Fleet) -> Cause:
    with ruled(fleet, cutting(video_bodies)):
        yield None


@case(hold_s=12)
def store_trickles(fleet: Fleet) -> Cause:
    ended = threading.Event()
    with ruled(fleet, trickling(ended, video_bodies)):
        yield None
    ended.set()


@case()
def store_mangles_what_is_ours(fleet: Fleet) -> Cause:
    with ruled(fleet, mangling(own_objects)):
        yield None


@case()
def clocks_differ(fleet: Fleet) -> Cause:
    with ruled(fleet, refusing(403, "RequestTimeTooSkewed", of_s3)):
        yield None


@case()
def queue_of_events_out(fleet: Fleet) -> Cause:
    with ruled(fleet, refusing(503, "ServiceUnavailable", lambda asked: asked.of_sqs)):
        yield None


# --- one sick thing among healthy ones ------------------------------------------------------------


def told(fleet: Fleet, *records: object) -> None:
    fleet.tell(json.dumps({"Records": list(records)}))


@case(hold_s=4)
def event_with_half_a_character(fleet: Fleet) -> Cause:
    before = fleet.dead_letters()
    told(fleet, fleet.event("half-\ud800.mp4"))
    yield lambda: 0 if fleet.dead_letters() > before else 1


@case(hold_s=4)
def event_of_an_impossible_bucket(fleet: Fleet) -> Cause:
    before = fleet.dead_letters()
    told(fleet, fleet.event("film.mp4", bucket="no bucket/at all"))
    yield lambda: 0 if fleet.dead_letters() > before else 1


@case(hold_s=4)
def video_whose_head_is_400(fleet: Fleet) -> Cause:
    """As of one that is encrypted with its owner's key (SSE-C)."""

    def encrypted(asked: Asked) -> bool:
        return asked.key.startswith("encrypted/")

    before = fleet.dead_letters()
    fleet.s3_front.rules.append(refusing(400, "InvalidRequest", encrypted))
    fleet.upload("encrypted", range(1))
    yield lambda: 0 if fleet.outcome("encrypted").failures or fleet.dead_letters() > before else 1


@case(hold_s=4)
def video_in_an_archive(fleet: Fleet) -> Cause:
    def frozen(asked: Asked) -> bool:
        return asked.key.startswith("archived/") and asked.method == "GET"

    fleet.s3_front.rules.append(refusing(403, "InvalidObjectState", frozen))
    fleet.upload("archived", range(1))
    yield lambda: 0 if fleet.outcome("archived").failures else 1


@case(hold_s=4)
def message_that_is_none(fleet: Fleet) -> Cause:
    before = fleet.queues.counts()["poison"]
    fleet.admin.lpush(f"{fleet.queues.prefix}caption.t4", b"\x00 no message \xff")
    yield lambda: 0 if fleet.queues.counts()["poison"] > before else 1


@case(hold_s=4)
def newer_message(fleet: Fleet) -> Cause:
    """Of a release that comes: it waits for somebody who can read it."""
    fleet.upload("newer", range(1), ARCHIVE_BUCKET)
    fleet.queues.put("caption.t4", [fleet.newer_job("newer/000.mp4")])
    yield lambda: 0 if fleet.newer_jobs_waiting() == 1 else 1


@case(hold_s=4)
def newer_backlog(fleet: Fleet) -> Cause:
    """Its cursor was written by a release that comes."""
    body = json.dumps({"v": 99, "state": "running", "of_the_future": True}).encode()
    fleet.backlog("newer-cursor", 1)
    fleet.put_output("backlogs/newer-cursor/cursor.json", body)
    yield lambda: int(fleet.output("backlogs/newer-cursor/cursor.json") != body)


@case(hold_s=4)
def damaged_backlog(fleet: Fleet) -> Cause:
    fleet.put_output("backlogs/damaged/manifest.json", b'{"v": 1, "name": ')
    fleet.put_output("backlogs/damaged/cursor.json", b"")
    yield None


@case(hold_s=4)
def damaged_pointer_of_adapters(fleet: Fleet) -> Cause:
    key = fleet.adapter_pointer()
    fleet.put_output(key, b"\x00\x01 no pointer")
    yield None
    fleet.bucket.delete_object(Bucket=OUTPUT_BUCKET, Key=key)


@case(hold_s=4)
def training_that_cannot_be(fleet: Fleet) -> Cause:
    job = fleet.train("s3://jamak-videos/there-is-no-such-data.jsonl")
    yield lambda: 0 if fleet.training_ended(job) else 1


# --- a sick machine -------------------------------------------------------------------------------


@contextmanager
def again_and_again(do: Callable[[], None], every_s: float) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            do()
            ended.wait(every_s)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:  # a thread that goes on would keep the program from ending
        ended.set()
        thread.join()


def sick_one(fleet: Fleet) -> Member:
    return fleet.captioners[0]


@case()
def scratch_removed(fleet: Fleet) -> Cause:
    one = sick_one(fleet)
    with again_and_again(lambda: fleet.remove_tree(one.scratch), 1.0):
        yield None


@case()
def scratch_is_no_folder(fleet: Fleet) -> Cause:
    one = sick_one(fleet)
    fleet.remove_tree(one.scratch)
    one.scratch.touch()
    yield None
    one.scratch.unlink(missing_ok=True)


def limited(fleet: Fleet, kind: int, soft: Callable[[psutil.Process], int]) -> Cause:
    """A limit of the system for one captioner and its children."""
    before = {}
    for process in sick_one(fleet).family():
        with suppress(PermissionError):  # a decoder that is nobody's to touch
            old = resource.prlimit(process.pid, kind)
            resource.prlimit(process.pid, kind, (soft(process), old[1]))
            before[process.pid] = old
    yield None
    for pid, limits in before.items():
        if psutil.pid_exists(pid):
            resource.prlimit(pid, kind, limits)


@case()
def disk_full(fleet: Fleet) -> Cause:
    """No file may grow."""
    yield from limited(fleet, resource.RLIMIT_FSIZE, lambda process: 0)


@case()
def files_exhausted(fleet: Fleet) -> Cause:
    yield from limited(fleet, resource.RLIMIT_NOFILE, lambda process: process.num_fds())


@case()
def memory_exhausted(fleet: Fleet) -> Cause:
    """Decoders get no more memory than they have."""
    children = {one.pid for one in sick_one(fleet).family()[1:]}
    yield from limited(
        fleet,
        resource.RLIMIT_AS,
        lambda process: (
            process.memory_info().vms if process.pid in children else resource.RLIM_INFINITY
        ),
    )


@case()
def decoders_die(fleet: Fleet) -> Cause:
    one = sick_one(fleet)

    def kill() -> None:
        for process in one.family()[1:]:
            os.kill(process.pid, signal.SIGKILL)

    with again_and_again(kill, 0.7):
        yield None


@case(hold_s=10, stock=True)
def worker_frozen(fleet: Fleet) -> Cause:
    one = sick_one(fleet)
    one.process.signal_group(signal.SIGSTOP)
    yield None
    one.process.signal_group(signal.SIGCONT)


@case(hold_s=6)
def listener_frozen(fleet: Fleet) -> Cause:
    one = fleet.members["listener"]
    one.process.signal_group(signal.SIGSTOP)
    yield None
    one.process.signal_group(signal.SIGCONT)
