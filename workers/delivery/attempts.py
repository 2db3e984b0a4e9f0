"""One try of a message, as a part of its trace (docs/tracing.md). Nothing where none is wanted.

A try is told when it ends. One whose lease is lost is told by whoever has the message next, so that
each is told once, also of a worker that was killed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars

from shared.errors import (
    BadCredentials,
    BrokerRefuses,
    Draining,
    InternalError,
    JamakError,
    LeaseLost,
    NotForMe,
    Outage,
    Paused,
    SickMachine,
    WrongRegion,
)
from shared.telemetry import tracing
from workers.delivery.lease import Lease

FAILED = "failed:"
FOR_OTHERS = (
    *(Draining, Paused, NotForMe, SickMachine, Outage),
    *(BadCredentials, WrongRegion, BrokerRefuses),
)
"""The message goes to another worker, or waits: nothing is wrong with the try."""


@contextmanager
def traced(lease: Lease, worker: str) -> Iterator[None]:
    """Around all that is done with a message and said in the log about it."""
    spans, delivery = tracing.spans(), lease.delivery
    if spans is not None:
        with tracing.harmless():
            lease.attempt = spans.attempt(
                queue=delivery.queue,
                lease=delivery.lease,
                message=delivery.message,
                number=delivery.history.attempt,
                worker=worker,
                dead=delivery.history.workers[-1] if delivery.history.workers else "",
            )
    if lease.attempt is None:
        yield
        return
    with lease.attempt.current(), bound_contextvars(trace_id=lease.attempt.trace_id):
        yield


@contextmanager
def telling(lease: Lease) -> Iterator[Callable[[str], None]]:
    """Around the try itself; call it with how that ended: `done`, or `failed:<reason>`."""
    try:
        yield lambda outcome: lease.tell(
            outcome.removeprefix(FAILED), failed=outcome.startswith(FAILED)
        )
    except LeaseLost:
        raise
    except JamakError as error:
        lease.tell(error.reason, failed=not isinstance(error, FOR_OTHERS))
        raise
    except Exception:
        lease.tell(InternalError.reason, failed=True)
        raise
