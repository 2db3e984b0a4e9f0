"""A primary dies under load, in a cluster and behind sentinels: `pytest -m soak`, a minute each.

Its replica takes over, and lacks what was sent last: it was stopped before that, and its connection
cut. The short siblings, without a death, are in tests/integration/test_topologies.py.
"""

import json
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis

from infra.local.processes import stop
from infra.local.procfile import ROOT
from producer.verbs.backlog import backlog
from producer.verbs.bulk import reconcile
from shared.bucket.keys import record_key
from shared.errors import JamakError
from shared.messages import CaptionJob
from tests.captioner import Captioner
from tests.topologies import Node, cluster, sentinels
from tests.verbs import inside
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.warm import WarmProcess
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model, pytest.mark.soak]

VIDEOS = 60
LOST = 40


Topology = tuple[str, dict[str, str], Callable[[], list[Node]]]
"""The address, more settings, and the primary of captions with its replica."""


@contextmanager
def in_a_cluster(folder: Path) -> Iterator[Topology]:
    with cluster(folder, replicas=1) as made:

        def pair() -> list[Node]:
            owner = made.owner("{jamak}:")
            mine = owner.client.execute_command("CLUSTER MYID")
            ports = [
                int(address.rpartition(":")[2].partition("@")[0])
                for address, one in owner.client.execute_command("CLUSTER NODES").items()
                if one["master_id"] == mine.decode()
            ]
            return [owner, next(node for node in made.nodes if node.port in ports)]

        yield made.url(), {}, pair


@contextmanager
def behind_sentinels(folder: Path) -> Iterator[Topology]:
    with sentinels(folder) as made:
        yield made.url(), made.settings, lambda: [made.primary, made.replica]


@pytest.mark.parametrize("topology", [in_a_cluster, behind_sentinels])
def test_what_a_failover_lost_is_found_and_nothing_is_written_twice(
    topology: Callable[[Path], AbstractContextManager[Topology]],
    aws: dict[str, str],
    buckets: tuple[str, str],
    tmp_path: Path,
) -> None:
    with topology(tmp_path / "redis") as (url, settings, pair):
        world = World(*buckets, url, {**aws, **settings}, "jamak")
        clip, name = write_clip(tmp_path / "a.mp4", 12), uuid.uuid4().hex[:8]
        videos = {
            part: [world.upload(clip, f"{name}/{part}/{number}.mp4") for number in range(count)]
            for part, count in (("fed", VIDEOS), ("sent", LOST))
        }
        sent = [world.job(video) for video in videos["sent"]]
        jobs = [*sent, *(world.job(video) for video in videos["fed"])]
        workers = [Captioner(world, tmp_path) for _ in range(2)]
        feeder = WarmProcess(
            "feeder",
            ["jamak", "feed"],
            log=tmp_path / "feeder.log",
            env={
                **os.environ,
                **world.env,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            cwd=ROOT,
        )
        processes = [feeder, *(worker.process for worker in workers)]
        try:
            for worker in workers:
                worker.wait()
            inside(world, backlog, "start", name, f"s3://{world.videos}/{name}/fed/")
            wait_until(lambda: len(done(world, jobs)) >= 5, 60, "captions")
            primary, replica = pair()
            # It hears nothing any more of what its primary is told.
            os.kill(replica.process.pid, signal.SIGSTOP)
            primary.client.client_kill_filter(_type="replica")
            world.send(*sent)
            primary.kill()
            os.kill(replica.process.pid, signal.SIGCONT)

            def quiet() -> bool:
                counts = world.queues.counts()
                return not any(counts.values()) and not world.queues.waiting("caption.t4")

            def fed() -> bool:
                told = inside(world, backlog, "status", name, "--json")
                return bool(json.loads(told.stdout)["done"] == VIDEOS)

            def settled(what: Callable[[], bool]) -> bool:
                try:
                    return what()
                except (redis.RedisError, JamakError):  # it fails over
                    return False

            wait_until(lambda: settled(quiet), 60, "an empty queue on the new primary")
            missing = {job.id for job in sent} - done(world, sent)
            assert missing  # else nothing was lost, and nothing is shown
            told = json.loads(
                inside(world, reconcile, f"s3://{world.videos}/{name}/sent/", "--json").stdout
            )
            assert told["missing"] == told["enqueued"] == len(missing)
            inside(world, reconcile, name, "--json")
            wait_until(lambda: len(done(world, jobs)) == len(jobs), 120, "all captions")
            wait_until(lambda: settled(fed), 30, "the count of the backlog")
            print(f"{len(missing)} of {LOST} were lost and found")
            assert [process.poll() for process in processes] == [None] * 3
        finally:
            stop(processes, patience_s=30)
        assert [process.poll() for process in processes] == [0] * 3
        written = world.times_written(f"{world.prefix}records/{world.videos}/")
        assert {written[record_key(world.prefix, job)] for job in jobs} == {1}


def done(world: World, jobs: list[CaptionJob]) -> set[str]:
    keys = {job.id: record_key(world.prefix, job) for job in jobs}
    there = world.times_written(f"{world.prefix}records/")
    return {job for job, key in keys.items() if key in there}
