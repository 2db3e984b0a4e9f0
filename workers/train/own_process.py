"""A training in a process of its own, and the judging after it in another one, as their parent sees
them: begun, watched, and ended.

run.py says what lies in the working directory and what the process says of itself. Knows nothing of
S3, of torch and of what becomes of the result.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from shared.errors import Draining, JamakError, OutOfResources, Reject, told_again
from shared.messages import Decoding
from shared.settings import Settings
from shared.telemetry import get_logger
from shared.training import TrainJob
from workers.progress import Progress
from workers.train.ending import STOPPED
from workers.train.hidden import Hidden
from workers.train.keeping import Keeping
from workers.video.limits import limits_of

LOG_LINES = 40
"""Of the subprocess, kept for the error message."""
MEMORY = re.compile("out of memory|allocate memory|OutOfMemoryError|MemoryError", re.IGNORECASE)
TOO_LITTLE_MEMORY = "Probably too little memory: lower batch_size or frames, or use quantized."
SAID = ("stage", "step", "steps", "loss")
"""Of an event, in the worker's log; all of it is in the job's own."""
LOOK_S = 2.0
"""Between two looks at whether the subprocess computes."""

Event = dict[str, Any]
"""`{"stage": …, "step": …, "steps": …}`, with the loss of a training step."""

log = get_logger("jamak.train")


def train_apart(
    job: TrainJob,
    settings: Settings,
    workdir: Path,
    progress: Progress,
    on_event: Callable[[Event], None],
    keeping: Keeping,
    ending: Callable[[], JamakError | None],
    on_line: Callable[[str], None],
) -> dict[str, Any]:
    """The subprocess's result.json, once its checkpoints are kept.

    Args:
        on_event, ending, on_line: as those of `run_train_job`.

    Raises:
        Reject: the training failed, or what it said was wrong with the job.
        OutOfResources: it was killed, or had no disk, memory or GPU, it seems.
        Draining: it was asked to end by somebody else. And what `ending` returned.
    """
    (workdir / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
    decoding = {
        "limits": asdict(limits_of(settings)),
        "memory_bytes": settings.decoder_memory_mib << 20,
        "isolated": settings.require_isolation,
    }
    (workdir / "decoding.json").write_text(json.dumps(decoding), encoding="utf-8")
    captions = Decoding.asked(settings).model_dump_json()
    (workdir / "captions.json").write_text(captions, encoding="utf-8")
    many = ["workers.train.processes", str(job.processes)]
    module = many if job.processes > 1 else ["workers.train.run"]

    def heard(event: Event) -> None:
        if event.pop("checkpoint", False):
            keeping.offer(event["step"])
        else:
            _tell(event, job, progress, on_event)

    with keeping:
        ended = _followed(module, job, settings, workdir, progress, heard, ending, on_line)
        keeping.wait(lambda: progress.tick(progress.stage))
    return _result(ended, job, workdir, progress)


def judge_apart(
    job: TrainJob,
    settings: Settings,
    workdir: Path,
    progress: Progress,
    on_event: Callable[[Event], None],
    ending: Callable[[], JamakError | None],
    on_line: Callable[[str], None],
) -> None:
    """What was trained is judged, in a process of its own: the model is loaded anew, as a captioner
    has it, and the memory of the training is free. judge_run.py says what it reads and leaves.

    Arguments and errors are those of `train_apart`.
    """

    def heard(event: Event) -> None:
        _tell(event, job, progress, on_event)

    module = ["workers.train.judge_run"]
    ended = _followed(module, job, settings, workdir, progress, heard, ending, on_line)
    _result(ended, job, workdir, progress)


def _tell(
    event: Event, job: TrainJob, progress: Progress, on_event: Callable[[Event], None]
) -> None:
    progress.tick(event["stage"])
    on_event(event)
    rare = event["step"] in (1, event["steps"]) or event["step"] % 10 == 0
    figures = {name: event[name] for name in SAID if name in event}
    (log.info if rare else log.debug)("training", job=job.id, **figures)


class _Ended(NamedTuple):
    returncode: int
    asked: list[JamakError]
    """Why it was asked to end, if it was."""
    tail: list[str]


def _followed(
    module: list[str],
    job: TrainJob,
    settings: Settings,
    workdir: Path,
    progress: Progress,
    on_event: Callable[[Event], None],
    ending: Callable[[], JamakError | None],
    on_line: Callable[[str], None],
) -> _Ended:
    """From its beginning to its end.

    Args:
        on_event: called with all that it says of itself.
    """
    tail: deque[str] = deque(maxlen=LOG_LINES)
    hide = Hidden({workdir: "WORKDIR"})
    with (
        _subprocess(module, job.processes, settings, workdir) as process,
        _watching(process, progress, ending) as asked,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            event = _event(line)
            if event is None:
                tail.append(line := hide(line.rstrip()))
                on_line(line)
            else:
                on_event(event)
    return _Ended(process.returncode, asked, list(tail))


def _result(ended: _Ended, job: TrainJob, workdir: Path, progress: Progress) -> dict[str, Any]:
    """Raises what `train_apart` does."""
    progress.tick(progress.stage)  # raises why the watcher ended it
    result, tail, asked = workdir / "result.json", ended.tail, ended.asked
    if ended.returncode == 0:
        return dict(json.loads(result.read_text(encoding="utf-8")))
    told = None
    if result.exists():
        told = json.loads(result.read_text(encoding="utf-8")).get("error")
    if told:
        raise told_again(told["reason"], told["message"], told["cure"])
    if asked:
        raise asked[0]
    if ended.returncode == STOPPED:
        raise Draining(f"the training of job {job.id} was asked to end by somebody else")
    last = "\n".join(tail)
    if ended.returncode < 0:
        raise OutOfResources(
            f"the training of job {job.id} was killed by signal {-ended.returncode}:\n{last}",
            cure=TOO_LITTLE_MEMORY,
            log=tail,
        )
    if ended.returncode == os.EX_TEMPFAIL:
        lacks = f"the training of job {job.id} lacks something on this machine:\n{last}"
        if MEMORY.search(last):
            raise OutOfResources(lacks, cure=TOO_LITTLE_MEMORY, log=tail)
        raise OutOfResources(lacks, log=tail)
    raise Reject(
        f"the training of job {job.id} failed with status {ended.returncode}:\n{last}",
        cure="The last lines of its log say why.",
        log=tail,
    )


def first_gpu(environ: Mapping[str, str]) -> str:
    """The one that the job was planned for, as CUDA_VISIBLE_DEVICES: transformers would take all
    that one process sees (nn.DataParallel), as many times the rows a step, and TRL refuses it."""
    return environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]


@contextmanager
def _subprocess(
    module: list[str], processes: int, settings: Settings, workdir: Path
) -> Iterator["subprocess.Popen[str]"]:
    """Gone when the block is left."""
    # It reads what was fetched for it: it needs neither the bucket nor Redis.
    needed = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "JAMAK_"))}
    environment = {**needed, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONUTF8"] = "1"
    if settings.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif processes == 1:
        environment["CUDA_VISIBLE_DEVICES"] = first_gpu(environment)
    gpu = ["--gpu"] if settings.device == "cuda" else []
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", *module, str(workdir / "job.json"), str(workdir)),
            *("--silent", str(max(settings.visibility_timeout_s, 3 * LOOK_S)), *gpu),
        ],
        # Held open as long as we live: run.py ends when it closes, or when nothing comes for so
        # long that another worker may have the job.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Libraries may say anything.
        encoding="utf-8",
        errors="replace",
        env=environment,
        # A terminal's Ctrl-C is for the worker, which then decides about its training.
        start_new_session=True,
    )
    try:
        yield process
        process.wait()
    finally:
        _stop(process)


@contextmanager
def _watching(
    process: "subprocess.Popen[str]",
    progress: Progress,
    ending: Callable[[], JamakError | None],
) -> Iterator[list[JamakError]]:
    """Loading a model or one long step says nothing for minutes: while the process computes or
    reads, it moves. Ends the process when the job was stopped, and asks it to end when it shall,
    with a last checkpoint: then the list holds why."""
    assert process.stdin is not None
    stdin = process.stdin.fileno()
    done = threading.Event()
    asked: list[JamakError] = []

    def watch() -> None:
        seen: tuple[float, ...] = ()
        while not done.wait(LOOK_S):
            try:
                progress.check()
                os.write(stdin, b".")
                why = ending()
                if why is not None and not asked:
                    asked.append(why)
                    process.send_signal(signal.SIGTERM)
                now = _work_of(psutil.Process(process.pid))
                if now != seen:
                    seen = now
                    progress.tick(progress.stage)
            except (psutil.Error, BrokenPipeError):
                return  # it has ended
            except Exception as error:
                log.warning("the training is stopped", message=str(error))
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return

    thread = threading.Thread(target=watch, name="training", daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        done.set()
        thread.join()


def _work_of(process: psutil.Process) -> tuple[float, ...]:
    """CPU seconds, to a tenth, and MiB in memory, with its children: of what hangs neither grows.

    What it reads is its own affair: that is not told of a process that keeps its memory private.
    """
    works = [_work_of_one(process)]
    for child in process.children(recursive=True):
        with suppress(psutil.Error):  # a decoder may end at any time
            works.append(_work_of_one(child))
    seconds, size = map(sum, zip(*works, strict=True))
    return (round(seconds, 1), int(size) >> 20)


def _work_of_one(process: psutil.Process) -> tuple[float, int]:
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss


def _stop(process: "subprocess.Popen[str]") -> None:
    """The process and its children, at once: nobody wants what it has."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def _event(line: str) -> Event | None:
    """A progress line of report.py, or None for the libraries' own lines."""
    if not line.startswith('{"stage"'):
        return None
    try:
        return dict(json.loads(line))
    except ValueError:
        return None
