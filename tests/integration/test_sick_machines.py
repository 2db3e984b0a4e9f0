"""A machine that cannot work: its jobs go back as they were, and it takes nothing until it can."""

import errno
import resource
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery

from shared.broker.apps import CAPTION_TASK
from shared.broker.leased_queues import History, LeasedQueues
from shared.errors import NotAVideo, OutOfResources, StoreUnavailable
from shared.messages import CaptionJob
from tests.sick import full_disk
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.work import Silent, work_with
from tests.world import World
from workers.caption.captioner import Answer
from workers.delivery.leases import Leases
from workers.delivery.machine import FILES, may_be_the_machines
from workers.delivery.scratch import Scratch
from workers.model.selfcheck import check_device
from workers.progress import Pulse
from workers.tasks import register_caption
from workers.video import process
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration

QUEUE = "caption.t4"


class Speaking(Silent):
    def caption(self, *args: Any) -> Answer:
        return Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)


class Worker:
    """What the composition root wires up, in this process and without Celery's loop."""

    def __init__(self, world: World, parent: Path) -> None:
        self.scratch = Scratch(parent)
        self.leases = Leases(LeasedQueues(world.redis_url, f"{world.redis_prefix}:", 30.0), 2, dict)
        self.leases.start()
        self.decoders = DecoderPool(1, folder=self.scratch.folder)
        self.leases.machine.check("scratch", self.scratch.prove)
        self.leases.machine.check("decoders", self.decoders.prove)
        work = work_with(world, Speaking(), self.decoders)
        app = Celery(set_as_current=False)
        register_caption(app, lambda: self.leases, lambda: work)
        self._task = app.tasks[CAPTION_TASK]

    def work(self, job: CaptionJob, within_s: float = 5) -> bool:
        """On the next message, if one is taken."""
        delivery = self.leases.receive([QUEUE], within_s)
        if delivery is None:
            return False
        self._task.push_request(properties={"delivery_tag": delivery.lease})
        try:
            self._task.run(job.model_dump(mode="json"))
        finally:
            self._task.pop_request()
        self.leases.finished(delivery.lease)
        assert self.leases.flush(5)
        return True

    def waiting(self) -> list[History]:
        """Of the messages in the queue."""
        queues = self.leases.queues
        taken = []
        while (one := queues.take(queues.new_lease(), [QUEUE])) is not None:
            taken.append(one)
        for one in reversed(taken):
            queues.release(one.lease, None)
        return [one.history for one in taken]


@pytest.fixture
def worker(world: World, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(world, tmp_path / "scratch")
    yield made
    made.decoders.close()
    made.leases.leave()
    made.scratch.remove()


@pytest.fixture
def job(world: World, tmp_path: Path) -> CaptionJob:
    key = f"{uuid.uuid4().hex}.mp4"
    made = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), key))
    world.send(made)
    return made


def test_a_scratch_folder_that_is_gone_costs_no_attempt_and_is_made_again(
    world: World, worker: Worker, job: CaptionJob, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "scratch")
    (tmp_path / "scratch").write_bytes(b"in its place")  # whoever is root may write anywhere else
    assert worker.work(job)
    assert worker.waiting() == [History()]
    assert "Not a directory" in worker.leases.pauses.told["scratch"]
    assert not worker.work(job, within_s=0.2)
    (tmp_path / "scratch").unlink()
    wait_until(lambda: not worker.leases.pauses, 10, "it to be well")
    assert worker.work(job)
    assert world.caption(job).text == "빨간 원이 움직입니다."


def test_a_scratch_folder_that_was_removed_is_no_want_of_room(
    world: World, worker: Worker, job: CaptionJob
) -> None:
    """It is made again at once; that it was missing counts as no try, and slows nobody down."""
    shutil.rmtree(worker.scratch.folder)
    assert worker.work(job)
    assert worker.waiting() == [History()]
    assert worker.leases.at_once == worker.leases.slots
    wait_until(lambda: not worker.leases.pauses, 10, "it to be well")
    assert worker.work(job)
    assert world.caption(job)


def test_a_network_that_leads_nowhere_is_no_want_of_room(worker: Worker) -> None:
    """Python has a class of its own for some of these errors, and for others none."""
    leases = worker.leases
    leases.queues.put("another", ["1", "2"])
    assert leases.receive(["another"], 5)
    assert leases.receive(["another"], 5)
    for number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN):
        away = StoreUnavailable("S3 cannot be reached")
        away.__cause__ = OSError(number, "no route")
        assert not leases.machine.is_to_blame(away)
    assert leases.at_once == leases.slots


def test_while_the_machine_is_examined_its_jobs_keep_their_leases(
    world: World, worker: Worker, job: CaptionJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder may take a minute to come up where memory is short."""
    pulses: list[Pulse] = []

    def examined() -> None:
        (lease,) = worker.leases.in_hand()
        for _ in range(2):
            pulses.append(lease.progress.pulse)
            time.sleep(0.01)
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(process.sys, "executable", "/nowhere/python")
    worker.leases.machine.check("memory", examined)
    worker.leases.machine._checks.reverse()
    assert worker.work(job)
    assert len(set(pulses)) == 2
    assert worker.waiting() == [History()]
    worker.leases.queues.redis.delete(f"{worker.leases.queues.prefix}{QUEUE}")


def test_a_full_disk_costs_no_attempt(world: World, worker: Worker, job: CaptionJob) -> None:
    """However often: while it is full, nothing is taken at all."""
    with full_disk():
        assert worker.work(job)
        assert not worker.work(job, within_s=2)
    assert worker.waiting() == [History()]
    wait_until(lambda: not worker.leases.pauses, 10, "it to be well")
    assert worker.work(job)
    assert world.caption(job)


def test_decoders_that_do_not_come_up_cost_no_attempt(
    world: World, worker: Worker, job: CaptionJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(process.sys, "executable", "/nowhere/python")
        assert worker.work(job)
        assert worker.waiting() == [History()]
        assert "a decoder cannot be started" in worker.leases.pauses.told["decoders"]
    wait_until(lambda: not worker.leases.pauses, 10, "it to be well")
    assert worker.work(job)
    assert world.caption(job)


def test_a_machine_without_files_left_is_to_blame_for_an_s3_that_is_not_reached(
    world: World, worker: Worker
) -> None:
    machine = worker.leases.machine
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(one.fd for one in psutil.Process().open_files()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, FILES), hard))
    try:
        with pytest.raises(StoreUnavailable) as caught:
            type(world.store)(tries=1).get(world.videos, "any.mp4")
        assert machine.is_to_blame(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in worker.leases.pauses.told["limits"]
    wait_until(lambda: not worker.leases.pauses, 10, "it to be well")


def test_on_a_machine_that_is_well_a_fault_counts_as_a_try(worker: Worker) -> None:
    machine = worker.leases.machine
    for error in (OutOfResources("the video filled the disk"), MemoryError(), OSError(28, "full")):
        assert may_be_the_machines(error)
        assert not machine.is_to_blame(error)
    assert not worker.leases.pauses
    away = StoreUnavailable("S3 is away")
    away.__cause__ = ConnectionRefusedError(111, "refused")
    assert not may_be_the_machines(away)
    assert not may_be_the_machines(NotAVideo("x"))


def test_a_machine_that_is_too_small_for_its_jobs_takes_fewer_at_once(worker: Worker) -> None:
    leases, full = worker.leases, OutOfResources("each of them takes half of the disk")
    leases.queues.put(QUEUE, ["1", "2", "3"])
    first, second = leases.receive([QUEUE], 5), leases.receive([QUEUE], 5)
    assert first is not None
    assert second is not None
    assert leases.machine.is_to_blame(full)
    leases.release(leases.of(first.lease), tried=False)
    leases.finished(first.lease)
    assert leases.at_once == 1
    assert leases.receive([QUEUE], 0.2) is None
    # What a job lacks that has the machine to itself, it lacks anywhere.
    assert not leases.machine.is_to_blame(full)
    leases.finished(second.lease)
    assert leases.receive([QUEUE], 5) is not None
    assert leases.receive([QUEUE], 0.2) is None


def test_what_no_process_recovers_from_ends_it_as_if_it_were_killed(worker: Worker) -> None:
    ended: list[str] = []
    machine = worker.leases.machine
    machine.check("device", lambda: check_device("cpu"), ended.append)
    assert not machine.is_to_blame(RuntimeError("an error of CUDA, which has passed"))
    machine.check("card", lambda: check_device("cuda"), ended.append)
    assert machine.is_to_blame(RuntimeError("an error of CUDA"))
    (why,) = ended
    assert why.startswith("card: ")
