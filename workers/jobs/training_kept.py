"""What is kept of a training job for people: its log, its report and its plot, whatever becomes of
the job (shared/bucket/training_files.py).

They are written now and then while it trains, and when this try ends. What cannot be written is
said in the worker's own log: the job does not depend on it. Whoever lost the job writes nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared import telemetry
from shared.bucket.stored import UNREADABLE
from shared.bucket.training_files import TrainingFiles
from shared.errors import JamakError, LeaseLost, Paused, Retry
from shared.training import TrainJob
from shared.training_log import BoundedLog
from shared.training_report import DataSummary, HeldOut, Steps, TrainReport, TrainStep
from workers.delivery.lease import Lease
from workers.train.hidden import Hidden

LOG_S, REPORT_S = 30.0, 300.0
"""Between two writes: each is a version of an object where buckets keep them."""
SAY_S = 1.0
"""Between two steps that the log has a line for; of each stage it has the first and the last."""
PLOT_S = 60.0
"""It may take; then the plot is not worth waiting for."""
log = telemetry.get_logger("jamak.training")


class Kept:
    """Of one try. Its words come from the thread that trains, `keep` is called by another."""

    def __init__(self, job: TrainJob, files: TrainingFiles, lease: Lease, scratch: Path) -> None:
        self._job, self._files, self._lease = job, files, lease
        self._worker = lease.delivery.lease.rpartition(".")[0]
        self._hide, self._scratch = Hidden({}), scratch
        self._lock = threading.Lock()
        self._log, self._steps = BoundedLog(), Steps()
        self._said: tuple[str, float] | None = None
        self._last: dict[str, Any] | None = None
        self._told: dict[str, Any] = {}
        self._workdir: Path | None = None
        self._ended: str | None = None
        self._earlier: TrainReport | None = None
        """Of the try before: what this one does not get to stays."""
        self._ended_with: Exception | None = None
        self._changed, self._due = True, False
        self._log_at = self._report_at = float("-inf")

    @contextmanager
    def of_this_try(self) -> Iterator[None]:
        """Around all of it."""
        self._go_on()
        try:
            yield
        except LeaseLost:
            raise
        except Exception as error:
            self._end(_told(error))
            if not isinstance(error, Retry):
                self._ended_with = error
            raise
        self._end("trained and published")

    def tells(self, lease: Lease) -> bool:
        """Whether it is of this very try."""
        return self._lease is lease

    def job_ended(self, error: JamakError) -> None:
        """Its last try did not know that no other follows, or it was not begun at all."""
        if self._ended_with is error:
            return
        if self._ended is None:
            try:
                self._read_earlier()
            except JamakError as unread:
                log.warning("not all is kept of this training", message=str(unread))
                return
        self._end(_last(error))

    @contextmanager
    def reading(self, workdir: Path) -> Iterator[None]:
        """Around the working directory of the training."""
        self._hide = Hidden({workdir: "WORKDIR"})
        self._workdir = workdir
        try:
            yield
        finally:
            self._read()
            self._workdir = None

    def on_line(self, line: str) -> None:
        """Of the subprocess, which is no word about how far it is."""
        if line.strip():
            self._say(line)

    def on_event(self, event: dict[str, Any]) -> None:
        stage, now = str(event["stage"]), time.monotonic()
        if stage == "train" and "loss" in event:
            with self._lock:
                self._steps.add(_step(event))
        first = self._said is None or self._said[0] != stage
        if first and self._last is not None:
            self._say(_line(self._last))
        last = event["step"] == event["steps"]
        self._last = None
        if first or last or (self._said and now - self._said[1] >= SAY_S):
            self._say(_line(event))
            self._said = (stage, now)
        else:
            self._last = event  # the last one of a stage that did not come to its end

    def keep(self) -> None:
        """Now and then."""
        now = time.monotonic()
        if self._changed and now - self._log_at >= LOG_S:
            self._log_at, self._changed = now, False
            self._put("log.txt", str(self._log).encode())
        if self._due or now - self._report_at >= REPORT_S:
            self._report_at, self._due = now, False
            self._read()
            self._put("report.json", self._report().model_dump_json().encode())

    def report_soon(self) -> None:
        """A checkpoint is kept: whoever goes on from it has the steps before it."""
        self._due = True

    def _go_on(self) -> None:
        """Where an earlier try ended."""
        self._read_earlier()
        self._say(f"try {self._lease.delivery.history.attempt}, worker {self._worker}")

    def _read_earlier(self) -> None:
        try:
            self._log = BoundedLog(self._files.log(self._job.id))
            self._earlier = self._files.report(self._job.id)
        except UNREADABLE as error:
            log.warning("not all of it goes on", job=self._job.id, message=str(error))
        if self._earlier is not None:
            self._steps = Steps(self._earlier.steps, self._earlier.every)

    def _end(self, how: str) -> None:
        try:
            self._lease.check()
            for line in how.splitlines():
                self._say(line)
            self._ended = self._hide(how)
            self._put("log.txt", str(self._log).encode())
            report = self._report()
            self._put("report.json", report.model_dump_json(indent=1).encode())
            if report.steps:
                with self._lease.progress.alive_for(PLOT_S):
                    self._put("plot.png", drawn(report, self._scratch))
        except Exception as error:
            log.warning("not all is kept of this training", job=self._job.id, message=str(error))

    def _put(self, name: str, body: bytes) -> None:
        self._files.put(self._job.id, name, body)

    def _say(self, line: str) -> None:
        with self._lock:
            self._log.add(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}  {self._hide(line)}")
            self._changed = True

    def _read(self) -> None:
        """What the subprocess has told for the report so far."""
        if self._workdir is None:
            return
        for path in (self._workdir / "told").glob("*.json"):
            self._told[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        result = self._workdir / "result.json"
        if result.exists():
            told = json.loads(result.read_text(encoding="utf-8"))
            # What judges it afterwards says there that it has, and nothing of the training.
            if told or "result" not in self._told:
                self._told["result"] = told

    def _report(self) -> TrainReport:
        earlier = self._earlier
        data, result = self._told.get("data"), self._told.get("result", {})
        before, after = self._told.get("before", ()), self._told.get("after", ())
        if data:
            held_out = [HeldOut.model_validate(row) for row in data["held_out"]]
            summary: DataSummary | None = DataSummary.model_validate(data["summary"])
        else:
            held_out = list(earlier.held_out) if earlier else []
            summary = earlier.data if earlier else None
        with self._lock:
            steps, every = self._steps.kept(), self._steps.every
        return TrainReport(
            job=self._job,
            worker=self._worker,
            attempt=self._lease.delivery.history.attempt,
            written_at=datetime.now(UTC),
            ended=self._ended,
            data=summary,
            every=every,
            steps=steps,
            held_out=tuple(
                row.model_copy(
                    update={
                        "before": _at(before, n) or row.before,
                        "after": _at(after, n) or row.after,
                    }
                )
                for n, row in enumerate(held_out)
            ),
            metrics=result.get("metrics", {}),
            libraries=result.get("libraries", {}),
        )


def drawn(report: TrainReport, scratch: Path) -> bytes:
    """A PNG, by a short process of its own: what draws is large, and is not kept in memory here.

    Raises:
        subprocess.SubprocessError: it could not be drawn.
    """
    with tempfile.TemporaryDirectory(prefix="jamak-plot-", dir=scratch) as folder:
        source, picture = Path(folder) / "report.json", Path(folder) / "plot.png"
        source.write_text(report.model_dump_json(), encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "workers.train.plot", source, picture],
            check=True,
            timeout=PLOT_S,
            capture_output=True,
            env={k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "JAMAK_"))},
        )
        return picture.read_bytes()


def _told(error: Exception) -> str:
    if isinstance(error, Paused):
        return f"paused: {error}"
    if isinstance(error, Retry):
        return f"this try ended, and another one follows: {error.reason}: {error}"
    if isinstance(error, JamakError):
        return _last(error)
    return f"this try ended, and another one may follow: {type(error).__name__}: {error}"


def _last(error: JamakError) -> str:
    return f"ended: {error.reason}: {error}\n{error.cure}"


def _step(event: dict[str, Any]) -> TrainStep:
    return TrainStep(
        step=event["step"],
        loss=event["loss"],
        learning_rate=event.get("lr"),
        grad_norm=event.get("grad_norm"),
        tokens=event.get("tokens", 0),
        seconds=event.get("seconds", 0.0),
        metrics=event.get("metrics", {}),
    )


def _line(event: dict[str, Any]) -> str:
    """`train 12 of 100: loss 0.5123, learning rate 0.0002, 812 tokens/s`"""
    figures = []
    if event.get("loss") is not None:
        figures.append(f"loss {event['loss']:.4f}")
    if event.get("lr") is not None:
        figures.append(f"learning rate {event['lr']:.3g}")
    if event.get("tokens") and event.get("seconds"):
        figures.append(f"{event['tokens'] / event['seconds']:.0f} tokens/s")
    figures += [f"{name} {value:.4g}" for name, value in event.get("metrics", {}).items()]
    told = f": {', '.join(figures)}" if figures else ""
    return f"{event['stage']} {event['step']} of {event['steps']}{told}"


def _at(captions: Any, n: int) -> str | None:
    return captions[n] if n < len(captions) else None
