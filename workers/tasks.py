"""The two tasks: thin. What becomes of each kind of error is decided here and nowhere else.

A message is acknowledged when its effect, its failure or its next try is safe.
"""

import random
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Celery
from celery.exceptions import Reject as RejectMessage
from celery.signals import worker_shutting_down

from shared import telemetry
from shared.broker import CAPTION_TASK, TRAIN_TASK
from shared.errors import BadMessage, JamakError, Reject, Retry
from shared.messages import CaptionJob, Message, TrainJob, decode

if TYPE_CHECKING:  # the trainer's process needs no torch
    from workers.delivery.caption import CaptionWork
    from workers.delivery.training import TrainWork

MAX_ATTEMPTS = 5
"""Tries of one job; between them 1, 2, 4 and 8 s, with jitter."""
LONGEST_BACKOFF_S = 30.0

log = telemetry.get_logger("jamak.tasks")

J = TypeVar("J", bound=Message)


class InternalError(Reject):
    """A fault of ours, on the record instead of in a log that rolls over."""

    reason = "internal_error"
    cure = "Please report it, with the evidence in this record."


def register_caption(app: Celery, work: "Callable[[], CaptionWork]") -> None:
    _register(
        app,
        CAPTION_TASK,
        CaptionJob,
        lambda job: work().run(job),
        lambda job, error, attempts: work().fail(job, error, attempts),
    )


def register_train(app: Celery, work: "Callable[[], TrainWork]") -> None:
    _register(
        app,
        TRAIN_TASK,
        TrainJob,
        lambda job: work().run(job),
        lambda job, error, attempts: work().fail(job, error),
    )


def _register(
    app: Celery,
    name: str,
    kind: type[J],
    run: Callable[[J], object],
    fail: Callable[[J, JamakError, int], None],
) -> None:
    stopping = threading.Event()

    @worker_shutting_down.connect(weak=False)
    def _stop_waiting(**_: Any) -> None:
        stopping.set()

    def try_again(task: Any, payload: Any, attempt: int, error: Retry) -> None:
        """Publish the next try before this one is acknowledged. Never a Celery countdown: it
        would park the job in this worker's memory."""
        telemetry.RETRIES.labels(name, error.reason).inc()
        log.warning("again later", task=name, attempt=attempt, message=str(error), payload=payload)
        backoff_s = min(2.0 ** min(attempt - 1, 10), LONGEST_BACKOFF_S)
        stopping.wait(backoff_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
        queue = task.request.delivery_info["routing_key"]
        task.apply_async(args=(payload,), kwargs={"attempt": attempt + 1}, queue=queue)

    # Not shared: Celery would put it on every app of the process.
    @app.task(name=name, bind=True, shared=False)
    def task(self: Any, payload: Any, attempt: int = 1) -> None:
        try:
            take(self, payload, attempt)
        except Exception as error:
            # Neither effect nor failure nor next try could be written. Celery would acknowledge
            # the message all the same, and the job would be gone.
            log.exception("handed back", task=name, payload=payload)
            stopping.wait(LONGEST_BACKOFF_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
            raise RejectMessage(str(error), requeue=True) from error

    def take(task: Any, payload: Any, attempt: int) -> None:
        try:
            job = decode(kind, payload)
            _attempt(job, attempt, run, fail)
        except BadMessage as error:
            # It names nothing that a failure could be filed under.
            telemetry.DROPPED.labels(name).inc()
            log.error("dropped", message=str(error), cure=error.cure, payload=payload)
        except Retry as error:
            try_again(task, payload, attempt, error)


def _attempt(
    job: J, attempt: int, run: Callable[[J], object], fail: Callable[[J, JamakError, int], None]
) -> None:
    """Raises Retry when another try is due; then nothing was written."""
    try:
        run(job)
    except Retry as error:
        if attempt < MAX_ATTEMPTS:
            raise
        fail(job, error, attempt)
    except JamakError as error:
        fail(job, error, attempt)
    except Exception as error:
        summary = f"{type(error).__name__}: {error}"
        if attempt < MAX_ATTEMPTS:
            raise Retry(summary) from error
        trace = "".join(traceback.format_exception(error))[-4000:]
        fail(job, InternalError(summary, trace=trace), attempt)
