"""A worker for one job takes one, and ends by itself when that is over or when none comes."""

import shlex
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.metrics import ask
from infra.local.ports import LOOPBACK, free_port
from infra.local.procfile import ROOT, read_procfile
from shared.broker.apps import TRAIN_QUEUE, TRAIN_TASK, queues_of, train_app
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.training import TrainingRecords
from shared.telemetry.health import LoopHealth
from shared.telemetry.metrics import registry_of
from shared.telemetry.probes import serve
from shared.telemetry.readers import Readers
from tests.training import make_job
from tests.waiting import wait_until
from tests.warm import WarmProcess
from tests.world import World
from workers.delivery.leases import Leases
from workers.delivery.once import Once

pytestmark = pytest.mark.integration


@pytest.fixture
def leases(redis_url: str) -> Iterator[Leases]:
    queues = LeasedQueues(redis_url, f"test-{uuid.uuid4().hex[:8]}:", 30.0)
    made = Leases(queues, 2, lambda: {"queues": ["q"]})
    made.start()
    yield made
    made.leave()
    for key in queues.redis.scan_iter(f"{queues.prefix}*"):
        queues.redis.delete(key)
    queues.redis.close()


@contextmanager
def asked_to_end() -> Iterator[threading.Event]:
    """Instead of being ended."""
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_takes_one_job_and_ends_when_that_is_over(leases: Leases) -> None:
    with asked_to_end() as asked:
        Once(leases, 60.0, Readers()).start()
        leases.queues.put("q", ["first", "second"])
        delivery = leases.receive(["q"], 10)
        assert delivery is not None
        # There is a slot free, and a job that waits.
        assert leases.receive(["q"], 0.5) is None
        assert leases.free == 0 and not asked.is_set()
        leases.finished(delivery.lease)
        assert leases.receive(["q"], 0.5) is None
        wait_until(asked.is_set, 2, "it to end")
        assert leases.queues.waiting("q") == 1


def test_it_stays_until_what_it_did_was_read(leases: Leases) -> None:
    readers, port = Readers(), free_port()
    serve(LoopHealth(), registry_of("trainer"), LOOPBACK, port, readers=readers)
    ask(port, "/metrics")
    with asked_to_end() as asked:
        Once(leases, 60.0, readers).start()
        leases.queues.put("q", ["first"])
        delivery = leases.receive(["q"], 10)
        assert delivery is not None
        leases.finished(delivery.lease)
        ask(port, "/livez")
        assert not asked.wait(0.6)
        ask(port, "/metrics")
        wait_until(asked.is_set, 2, "it to end")


def test_it_ends_when_no_job_comes(leases: Leases) -> None:
    with asked_to_end() as asked:
        Once(leases, 0.3, Readers()).start()
        assert leases.receive(["q"], 0.1) is None
        wait_until(asked.is_set, 2, "it to end")
        leases.queues.put("q", ["late"])
        assert leases.receive(["q"], 0.3) is None


@pytest.mark.parametrize("waiting", [0, 2])
def test_the_trainer_of_the_procfile_ends_by_itself(
    world: World, tmp_path: Path, waiting: int
) -> None:
    place = replace(world, redis_prefix=f"{world.redis_prefix}-{waiting}")
    app = train_app(place.settings)
    jobs = [make_job(id=f"one-job-{number}", model="jamak/other") for number in range(waiting)]
    for job in jobs:
        app.send_task(TRAIN_TASK, (job.model_dump(mode="json"),), queue=TRAIN_QUEUE, task_id=job.id)
    trainer = WarmProcess(
        "trainer",
        shlex.split(read_procfile()["trainer"].removeprefix("exec ")),
        log=tmp_path / "log",
        env={**place.env, "JAMAK_TRAIN_ONCE_S": "600" if waiting else "0.1"},
        cwd=ROOT,
    )
    try:
        wait_until(lambda: trainer.poll() is not None, 20, "the trainer to end")
        assert trainer.poll() == 0, trainer.log.read_text()
    finally:
        trainer.kill()
    # The other one is for another trainer.
    assert queues_of(app).waiting(TRAIN_QUEUE) == max(0, waiting - 1)
    records = TrainingRecords(place.store, place.output, place.prefix)
    ended = [job.id for job in jobs if records.outcome(job.id) is not None]
    assert len(ended) == min(1, waiting)
