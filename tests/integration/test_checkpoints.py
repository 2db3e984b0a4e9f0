"""Checkpoints in a real S3 API: what is whole, who may write, and what is passed over."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.bucket.checkpoints import Checkpoints, clear
from shared.bucket.keys import training_folder
from shared.errors import LeaseLost, StoreUnavailable
from shared.training_runs import STATE_FILE, TENSORS_FILE, Before, TrainRun, TrainState
from tests.world import World

pytestmark = pytest.mark.integration

DATA = "d" * 64


def nothing() -> None:
    """The lease is held; a piece came; somebody wants it."""


class Job:
    """A training job of each test's own."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.id, self._folder = world, f"j{uuid.uuid4().hex[:8]}", folder
        self.key = f"{training_folder(world.prefix)}{self.id}/"

    def begin(self, check: Callable[[], None] = nothing) -> Checkpoints:
        return Checkpoints(
            self.world.store, self.world.output, self.world.prefix, self.id, "worker", check
        )

    def add(self, run: Checkpoints, step: int, check: Callable[[], None] = nothing) -> None:
        folder = self._folder / uuid.uuid4().hex
        folder.mkdir()
        state = TrainState(
            step=step,
            base_sha256="b",
            before=Before(captions=(), likely=()),
            losses=(1.5,),
            rates=(),
            schedule={},
        )
        (folder / STATE_FILE).write_text(state.model_dump_json())
        (folder / TENSORS_FILE).write_bytes(b"tensors of step %d, run %d" % (step, run.epoch))
        run.add(step, DATA, folder, check)

    def fetched(self, data: str = DATA) -> tuple[int, bytes]:
        """By the next run; the step, and the tensors."""
        folder = self._folder / uuid.uuid4().hex
        step = self.begin().fetch(data, folder, nothing)
        assert folder.exists() == bool(step)
        return step, (folder / TENSORS_FILE).read_bytes() if step else b""

    def files(self) -> set[str]:
        found = self.world.store.list(self.world.output, self.key)
        return {item.key.removeprefix(self.key) for item in found}


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    return Job(world, tmp_path)


def test_the_next_run_goes_on_from_the_last_checkpoint(job: Job) -> None:
    assert job.fetched() == (0, b"")
    run = job.begin()
    for step in (10, 20, 30):
        job.add(run, step)
    assert job.fetched() == (30, b"tensors of step 30, run 2")
    # The last two are kept.
    assert job.files() == {
        "epoch.json",
        *(
            f"checkpoints/{step}-2/{name}"
            for step in (20, 30)
            for name in (STATE_FILE, TENSORS_FILE)
        ),
    }
    clear(job.world.store, job.world.output, job.world.prefix, job.id)
    assert job.files() == {"epoch.json"}


@pytest.mark.parametrize("torn", [TENSORS_FILE, STATE_FILE])
@pytest.mark.parametrize("how", ["gone", "changed", "cut"])
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(job: Job, torn: str, how: str) -> None:
    run = job.begin()
    job.add(run, 10)
    job.add(run, 20)
    store, bucket = job.world.store, job.world.output
    for step in (20, 10):
        key = f"{job.key}checkpoints/{step}-1/{torn}"
        body = store.get(bucket, key)
        if how == "gone":
            store.delete(bucket, key)
        else:
            store.put(bucket, key, body[:-1] + b"\0" if how == "changed" else body[:-1])
        before = (10, b"tensors of step 10, run 1")
        assert job.fetched() == (before if step == 20 else (0, b""))


def test_a_checkpoint_of_another_training_set_is_none_of_this_one(job: Job) -> None:
    job.add(job.begin(), 10)
    assert job.fetched("e" * 64) == (0, b"")
    assert job.fetched() == (10, b"tensors of step 10, run 1")


def test_one_that_a_newer_jamak_wrote_is_passed_over(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = job.begin()
    job.add(run, 10)
    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "model_dump_json", lambda self: '{"v": 99}')
        job.add(run, 20)
    assert job.fetched() == (10, b"tensors of step 10, run 1")


def test_a_run_that_was_overtaken_neither_writes_nor_publishes(job: Job) -> None:
    """Its worker was cut off, or stood still, and knows nothing of the next one."""
    old = job.begin()
    job.add(old, 10)
    new = job.begin()
    assert (old.epoch, new.epoch) == (1, 2)
    with pytest.raises(LeaseLost, match="run 1 of the training was overtaken by run 2"):
        old.check()
    with pytest.raises(LeaseLost):
        job.add(old, 20)
    new.check()
    job.add(new, 15)
    assert job.fetched() == (15, b"tensors of step 15, run 2")


def test_a_run_that_is_overtaken_while_it_uploads_adds_nothing(job: Job) -> None:
    old = job.begin()
    job.add(old, 10)
    runs: list[Checkpoints] = []
    with pytest.raises(LeaseLost):
        job.add(old, 20, lambda: runs.append(job.begin()))  # its files are there
    assert f"checkpoints/20-1/{TENSORS_FILE}" in job.files()
    job.add(runs[0], 20)
    assert job.fetched() == (20, b"tensors of step 20, run 2")


def test_of_two_that_begin_at_once_each_has_an_epoch_of_its_own(job: Job) -> None:
    others: list[Checkpoints] = []

    def between() -> None:
        if not others:
            others.append(job.begin())

    mine = job.begin(between)
    assert (others[0].epoch, mine.epoch) == (1, 2)
    with pytest.raises(LeaseLost):
        others[0].check()


def test_who_lost_the_job_begins_no_run(job: Job) -> None:
    def lost() -> None:
        raise LeaseLost("somebody else has it")

    with pytest.raises(LeaseLost):
        job.begin(lost)
    assert job.files() == set()


def test_an_answer_that_gets_lost_is_no_other_run(job: Job) -> None:
    """The line is written, and nobody hears of it: the write is sent again and meets itself."""
    run = job.begin()
    put = job.world.store.put_raw
    answers = iter((False, True))

    def once_unheard(*arguments: object, **named: object) -> str:
        etag = put(*arguments, **named)  # type: ignore[arg-type]
        return put(*arguments, **named) if next(answers, None) is False else etag  # type: ignore[arg-type]

    job.world.store.put_raw = once_unheard  # type: ignore[assignment, method-assign]
    try:
        job.add(run, 10)
    finally:
        del job.world.store.put_raw
    job.add(run, 20)
    text = job.world.store.get(job.world.output, f"{job.key}epoch.json")
    assert [one.step for one in TrainRun.model_validate_json(text).checkpoints] == [10, 20]


@pytest.mark.parametrize("written", [True, False])
def test_an_answer_that_never_comes_costs_one_checkpoint_and_not_the_job(
    job: Job, written: bool
) -> None:
    """Its own line is no line of a later run."""
    run = job.begin()
    job.add(run, 10)
    put = job.world.store.put_raw

    def away(*arguments: object, **named: object) -> str:
        if written:
            put(*arguments, **named)  # type: ignore[arg-type]
        raise StoreUnavailable("the answer got lost, and then 503")

    job.world.store.put_raw = away  # type: ignore[assignment, method-assign]
    try:
        with pytest.raises(StoreUnavailable):
            job.add(run, 20)
    finally:
        del job.world.store.put_raw
    job.add(run, 30)
    job.add(run, 40)
    text = job.world.store.get(job.world.output, f"{job.key}epoch.json")
    there = [one.step for one in TrainRun.model_validate_json(text).checkpoints]
    assert there[-2:] == [30, 40]
    assert job.fetched() == (40, b"tensors of step 40, run 1")
    with pytest.raises(LeaseLost):
        job.add(run, 50)  # for somebody has begun by now
