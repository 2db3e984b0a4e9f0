"""The reasons that failures have: those of the errors that end a job. Reads no bucket."""

import difflib

from shared import errors
from shared.errors import (
    Conflict,
    Draining,
    JamakError,
    LeaseLost,
    NotForMe,
    Outage,
    Reject,
    Retry,
    SickMachine,
    Unfinished,
    Unwritable,
    UsageError,
)

NEVER_FAILURES = (
    *(LeaseLost, Draining, NotForMe, SickMachine, Outage, Unwritable),
    *(UsageError, Unfinished, Conflict),
)
"""Of the first ones the job goes to somebody else, or is set aside (workers/tasks.py); the others
are told to whoever types a command, or are settled where they come up."""


def known_reasons() -> list[str]:
    """What a failure's reason can be: those of the errors that end a job."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, JamakError)
    ]
    branches = {JamakError, Reject, Retry}
    return sorted(
        {
            kind.reason
            for kind in kinds
            if kind not in branches and not issubclass(kind, NEVER_FAILURES)
        }
    )


def check_reason(reason: str) -> str:
    """Raises UsageError: no failure ever has it."""
    known = known_reasons()
    if reason in known:
        return reason
    near = difflib.get_close_matches(reason.lower().replace("-", "_"), known, n=1)
    raise UsageError(
        f"--reason: no failure has the reason {reason!r}"
        + (f"; did you mean {near[0]}?" if near else ""),
        cure=f"The reasons are {', '.join(known)}.",
    )
