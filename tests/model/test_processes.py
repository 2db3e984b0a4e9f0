"""One training as several processes: how they begin and end, and that together they are one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from shared.errors import BadData
from shared.training import TrainJob
from tests.training import dpo_rows, fill, kto_rows, make_job, sft_rows
from workers.train import ranks
from workers.train.ending import STOPPED
from workers.train.order import SampleOrder
from workers.train.processes import launch
from workers.train.run import train

pytestmark = pytest.mark.model


@pytest.fixture
def handlers() -> Iterator[None]:
    """Torch's launcher replaces those of the process that it runs in."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("second", "status", "killed_by"),
    [("pass", 0, []), ("sys.exit(75)", 75, []), ("os.kill(os.getpid(), 9)", -9, [9])],
)
def test_several_processes_end_as_the_first_that_failed(
    second: str,
    status: int,
    killed_by: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was killed lacked memory, most likely, and then the job may be tried again."""
    (tmp_path / "child.py").write_text(
        "import os, sys, time\n"
        "open(sys.argv[1] + os.environ['RANK'], 'w').close()\n"
        f"if os.environ['RANK'] == '1':\n    {second}\n"
        f"elif {status}:\n    time.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    kill, signals = os.kill, list[int]()

    def spy(pid: int, number: int) -> None:
        if pid == os.getpid():
            signals.append(number)
        else:
            kill(pid, number)

    monkeypatch.setattr(os, "kill", spy)
    assert launch(2, [f"{tmp_path}/rank"], "child") == status
    assert signals == killed_by
    assert {path.name for path in tmp_path.glob("rank*")} == {"rank0", "rank1"}


def test_several_processes_see_the_samples_of_one_with_a_larger_batch() -> None:
    """In each step the same ones, whatever the number of processes and of parts."""

    def steps(processes: int, batch: int, accumulate: int) -> list[list[int]]:
        size = processes * batch * accumulate
        found: list[list[int]] = [[] for _ in range(4)]
        for process in range(processes):
            order = SampleOrder(17, 0, size, range(4))
            loader: Any = prepare_data_loader(
                DataLoader(range(17), batch_size=batch, sampler=order),  # type: ignore[arg-type]
                num_processes=processes,
                process_index=process,
                put_on_device=False,
            )
            for number, samples in enumerate(loader):
                found[number // accumulate] += samples.tolist()
        return [sorted(samples) for samples in found]

    alone = steps(1, 12, 1)
    assert all(len(samples) == 12 for samples in alone)
    assert steps(2, 6, 1) == steps(2, 3, 2) == steps(4, 3, 1) == alone


def test_only_the_first_process_speaks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = os.dup(1)
    try:
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            ranks.be_silent_unless_first()
            os.write(1, f"says {rank}\n".encode())
            os.write(2, f"fails {rank}\n".encode())
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    said = capfd.readouterr()
    assert said.out == "says 0\n"
    assert said.err == "fails 0\nfails 1\n"


def test_each_process_has_a_gpu_of_its_own_or_the_job_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert ranks.gpu() == "cuda:3"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(BadData, match="asks for 4 processes, each with a GPU; here are 2"):
        train(make_job(processes=4), tmp_path)


Started = Callable[[TrainJob, Path], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Started]:
    begun: list[subprocess.Popen[str]] = []

    def start(job: TrainJob, folder: Path) -> "subprocess.Popen[str]":
        (folder / "job.json").write_text(job.model_dump_json())
        begun.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "workers.train.processes", str(job.processes)),
                    *(str(folder / "job.json"), str(folder)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        with process:  # its pipes are closed, and one may be already
            pass


def _losses(lines: list[str]) -> list[float]:
    told = [json.loads(line) for line in lines if line.startswith('{"stage": "train"')]
    return [event["loss"] for event in told if "loss" in event]


@pytest.mark.parametrize(
    ("stage", "rows"),
    [
        ("sft", sft_rows),
        pytest.param("dpo", dpo_rows, marks=pytest.mark.soak),
        pytest.param("kto", kto_rows, marks=pytest.mark.soak),
    ],
)
def test_two_processes_train_as_one_with_twice_the_batch(
    stage: str,
    rows: Callable[[dict[str, Path]], list[dict[str, Any]]],
    videos: dict[str, Path],
    tmp_path: Path,
    start: Started,
    capfd: pytest.CaptureFixture[str],
) -> None:
    job = make_job(stage=stage, steps=3, learning_rate=1e-3)
    fill(tmp_path / "one", rows(videos))
    capfd.readouterr()
    alone = train(job, tmp_path / "one").metrics
    expected = _losses(capfd.readouterr().out.split("\n"))
    fill(tmp_path / "two", rows(videos))
    together = job.model_copy(update={"processes": 2, "batch_size": 3})
    process = start(together, tmp_path / "two")
    assert process.stdout is not None
    found = _losses(list(process.stdout))
    assert process.wait() == 0
    assert len(expected) == 3
    assert found == pytest.approx(expected, rel=1e-3)
    told = json.loads((tmp_path / "two" / "result.json").read_text())["metrics"]
    assert told == pytest.approx(alone, rel=1e-2)


@pytest.mark.soak
def test_no_process_outlives_the_parent(
    videos: dict[str, Path], tmp_path: Path, start: Started
) -> None:
    fill(tmp_path, sft_rows(videos))
    process = start(make_job(processes=2, batch_size=2, steps=100_000), tmp_path)
    assert process.stdout is not None
    assert process.stdin is not None
    while '"train", "step": 3' not in process.stdout.readline():
        assert process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 2
    process.stdin.close()
    assert process.wait() == -signal.SIGKILL
    psutil.wait_procs(family)


@pytest.mark.soak
def test_all_processes_end_after_the_same_step(
    videos: dict[str, Path], tmp_path: Path, start: Started
) -> None:
    fill(tmp_path, sft_rows(videos))
    process = start(make_job(processes=2, batch_size=2, steps=100_000), tmp_path)
    assert process.stdout is not None
    while '"train", "step": 3' not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait() == STOPPED
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
