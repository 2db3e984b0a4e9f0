"""The two tasks: thin. How each kind of error ends is decided here and nowhere else.

A message is acknowledged when its effect or its failure is in the bucket; for another try it goes
back to its queue, later. Whatever happens, exactly one of these.
"""

import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Celery

from shared import telemetry
from shared.broker.apps import CAPTION_TASK, TRAIN_TASK
from shared.broker.backlog_progress import DONE, FAILED
from shared.broker.leased_queues import History
from shared.errors import (
    BadCredentials,
    BadMessage,
    BrokerRefuses,
    Draining,
    HandedUp,
    Hangs,
    InternalError,
    JamakError,
    KillsWorkers,
    LacksMemory,
    LeaseLost,
    NotForMe,
    Outage,
    Paused,
    Retry,
    SickMachine,
    StillAway,
    Unwritable,
    WrongRegion,
)
from shared.messages import CaptionJob, Message, decode
from shared.training import TrainJob
from workers.delivery.attempts import telling, traced

if TYPE_CHECKING:  # the trainer's process needs no torch
    from workers.delivery.lease import Lease
    from workers.delivery.leases import Leases
    from workers.jobs.caption import CaptionWork
    from workers.jobs.training import TrainWork

MAX_ATTEMPTS = 8
"""Tries of one job, over a minute and a half: between them 1, 2, 4, ... 30 s, with jitter."""
MAX_UNWRITTEN = 2 * MAX_ATTEMPTS
"""Tries of a job whose failure cannot be written, either: over four minutes more."""
MAX_HANGS = 3
DEADLY_ALONE = 2
"""Workers that died with a job and nothing else: with all of its frames, and with half of them."""
LONGEST_BACKOFF_S = 30.0
LONGEST_LOOK_S = 120.0
"""For finding out whether the machine or the store is to blame: so long the job keeps its lease."""
HAND_ON_S = 10.0
"""A job for another worker waits so long, lest it goes round in circles."""

NOT_LET_IN = (BadCredentials, WrongRegion, BrokerRefuses)
"""This machine is not let in, which is no fault of the job: with another, or later, it goes on."""

log = telemetry.get_logger("jamak.tasks")

J = TypeVar("J", bound=Message)


def register_caption(
    app: Celery, leases: "Callable[[], Leases]", work: "Callable[[], CaptionWork]"
) -> None:
    _register(
        app,
        CAPTION_TASK,
        CaptionJob,
        leases,
        lambda job, lease: work().run(job, lease),
        lambda job, lease, error: work().fail(job, lease, error),
    )


def register_train(
    app: Celery, leases: "Callable[[], Leases]", work: "Callable[[], TrainWork]"
) -> None:
    _register(
        app,
        TRAIN_TASK,
        TrainJob,
        leases,
        lambda job, lease: work().run(job, lease),
        lambda job, lease, error: work().fail(job, lease, error),
    )


def _register(
    app: Celery,
    name: str,
    kind: type[J],
    leases: "Callable[[], Leases]",
    run: "Callable[[J, Lease], object]",
    fail: "Callable[[J, Lease, JamakError], bool]",
) -> None:
    def settle(lease: "Lease", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            with telling(lease) as tell:
                job, outcome = _do(kind, args, kwargs, lease, leases(), run, fail)
                tell(outcome)
            if isinstance(job, CaptionJob) and job.backlog:
                leases().note(job.backlog, outcome)
        except BadMessage as error:
            # It names nothing that a failure could be filed under.
            leases().refuse(lease.delivery.lease, str(error))
        except Unwritable as error:
            leases().refuse(lease.delivery.lease, f"{error.reason}: {error}")
        except LeaseLost as error:
            lease.account.wasted("lost")
            log.warning("left to somebody else", task=name, message=str(error))
        except Draining as error:
            log.info("handed back", task=name, message=str(error))
            leases().release(lease, tried=False)
        except Paused as error:
            # Its message is over: whoever resumes it sends it again.
            log.info("left to rest", task=name, message=str(error))
        except SickMachine as error:
            telemetry.HANDED_ON.labels(name, error.reason).inc()
            log.warning("handed back", task=name, message=str(error), cure=error.cure)
            # At once: this worker has no room for it until it is well, or others have ended.
            leases().release(lease, tried=False)
        except StillAway as error:
            telemetry.HANDED_ON.labels(name, error.reason).inc()
            log.debug("handed back", task=name, message=str(error))  # there may be thousands
            leases().release(lease, HAND_ON_S, tried=False)
        except Outage as error:
            telemetry.HANDED_ON.labels(name, error.reason).inc()
            log.warning("handed back", task=name, message=str(error), cure=error.cure)
            leases().release(lease, HAND_ON_S, tried=False)
        except HandedUp as error:
            telemetry.HANDED_ON.labels(name, error.reason).inc()
            log.warning("left to a larger card", task=name, message=str(error))
            # Its new message lies in a queue: this one is over, and its line of a backlog is not.
        except (NotForMe, *NOT_LET_IN) as error:
            telemetry.HANDED_ON.labels(name, error.reason).inc()
            log.warning("left to another worker", task=name, message=str(error), cure=error.cure)
            leases().release(lease, HAND_ON_S, tried=False)
        except Retry as error:
            lease.account.wasted("retries")
            telemetry.RETRIES.labels(name, error.reason).inc()
            attempt = lease.delivery.history.attempt
            delay_s = min(2.0 ** min(attempt - 1, 10), LONGEST_BACKOFF_S)
            delay_s *= random.uniform(0.5, 1.5)  # noqa: S311  # jitter
            log.warning(
                "again later", task=name, attempt=attempt, delay_s=delay_s, message=str(error)
            )
            leases().release(lease, delay_s, tried=not lease.advanced, why=error.reason)
        except Exception:
            lease.account.wasted("retries")
            # Not even the failure could be written.
            log.exception("handed back", task=name)
            leases().release(lease, LONGEST_BACKOFF_S, why=InternalError.reason)

    # Not shared: Celery would put it on every app of the process.
    @app.task(name=name, bind=True, shared=False)
    def task(self: Any, *args: Any, **kwargs: Any) -> None:
        lease = leases().of(self.request.properties["delivery_tag"])
        with traced(lease, leases().queues.worker):
            settle(lease, args, kwargs)


def _do(
    kind: type[J],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    lease: "Lease",
    leases: "Leases",
    run: "Callable[[J, Lease], object]",
    fail: "Callable[[J, Lease, JamakError], bool]",
) -> tuple[J, str]:
    """The job and its effect, `done` or `failed:<reason>`; raises what else becomes of it."""
    if len(args) != 1 or kwargs:
        raise BadMessage(f"{kind.__name__}: one argument is wanted")
    lease.begin()
    job = decode(kind, args[0])
    leases.spending.name(lease.account, *_whose(job))
    history = lease.delivery.history
    if leases.outages is not None and isinstance(job, CaptionJob):
        leases.outages.check(job.video.bucket)

    def failed(error: JamakError) -> tuple[J, str]:
        try:
            with _blaming(leases, lease):
                has_its_effect = fail(job, lease, error)
        except (LeaseLost, SickMachine, Outage, *NOT_LET_IN):
            raise
        except Exception as unwritten:
            if history.attempt < MAX_UNWRITTEN:
                raise
            raise Unwritable(
                f"neither its record nor its failure could be written: {unwritten}"
            ) from unwritten
        lease.account.wasted("duplicates" if has_its_effect else "failures")
        return job, DONE if has_its_effect else f"{FAILED}{error.reason}"

    try:
        with _blaming(leases, lease):
            _refuse_dangerous(history)
            run(job, lease)
        return job, DONE
    except (Paused, LeaseLost, Draining, NotForMe, SickMachine, Outage, BadMessage):
        raise
    except NOT_LET_IN as error:
        # With one bucket only it is no fault of the machine: others would try in vain, too.
        if leases.outages is None or error.place is None:
            raise
        if history.attempt < MAX_ATTEMPTS:
            raise Retry(str(error), cure=error.cure) from error
        return failed(error)
    except Retry as error:
        if history.attempt < MAX_ATTEMPTS or lease.advanced:
            raise
        return failed(error)
    except LacksMemory as error:
        # The card had enough for such a job when the worker started, and may have it again.
        if history.attempt < MAX_ATTEMPTS:
            raise Retry(str(error), cure=error.cure) from error
        return failed(error)
    except JamakError as error:
        return failed(error)
    except Exception as error:
        summary = f"{type(error).__name__}: {error}"
        if history.attempt < MAX_ATTEMPTS or lease.advanced:
            raise Retry(summary) from error
        trace = "".join(traceback.format_exception(error))[-4000:]
        return failed(InternalError(summary, trace=trace))


def _whose(job: Message) -> tuple[str, str]:
    """What it is about, and its backlog."""
    if isinstance(job, CaptionJob):
        return job.video.uri, job.backlog.name if job.backlog else ""
    return (job.data, "") if isinstance(job, TrainJob) else ("", "")


@contextmanager
def _blaming(leases: "Leases", lease: "Lease") -> Iterator[None]:
    """Raises SickMachine or Outage for whatever else went wrong, if that is no wonder on this
    machine, or with this store."""

    def on_step() -> None:
        lease.progress.ends_at = None  # the job itself goes no further
        lease.progress.tick("examine")

    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        with lease.progress.alive_for(LONGEST_LOOK_S):
            if leases.machine.is_to_blame(error):
                raise SickMachine(said) from error
            if leases.outages is not None and leases.outages.is_to_blame(error, on_step):
                raise Outage(said) from error
        raise


def _refuse_dangerous(history: History) -> None:
    """Raises KillsWorkers, Hangs."""
    evidence: dict[str, Any] = {"workers": history.workers, "deaths": history.deaths}
    if history.deaths_alone >= DEADLY_ALONE:
        deaths = history.deaths + history.deaths_alone
        raise KillsWorkers(
            f"{deaths} workers died with it, {history.deaths_alone} of them with nothing else",
            deaths_alone=history.deaths_alone,
            **evidence,
        )
    if history.hangs >= MAX_HANGS:
        raise Hangs(f"it stood still {history.hangs} times", hangs=history.hangs, **evidence)
