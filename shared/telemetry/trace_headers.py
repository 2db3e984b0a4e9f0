"""How a trace travels with a message: in two of its headers, as W3C has them.

`traceparent` names the trace and the span that sent the message, and stays as it is. `tracestate`
says which attempt had the message last; Redis keeps it, in the step in which the message is taken
(`traced` in shared/broker/lua/common.lua), so it is right whatever becomes of the worker. They are
no part of the job: who does not know them passes over them, and a job is the same with and without.

www.w3.org/TR/trace-context. They are read where they stand in the message's text, rather than by
parsing it: within a string of JSON each quote has a backslash before it, so nothing else looks like
one.
"""

import hashlib
import re
from dataclasses import dataclass

_PARENT = re.compile(rb'"traceparent": "00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"')
_STATE = re.compile(rb'"tracestate": "jamak=([0-9a-f]{16})\.([0-9]{13})\.([+x])\.([0-9a-f]{16})"')
NOBODY = f"jamak={'0' * 16}.{'0' * 13}.+.{'0' * 16}"
"""Had it yet. Its length never changes."""


@dataclass(frozen=True)
class Attempt:
    """Who had a message last."""

    span_id: int
    taken_s: float
    """Since 1970, by the clock of Redis."""
    lost: bool
    """Its lease ended without a word: it never told of itself."""
    before: int
    """The span of the attempt before that; 0: there was none."""


@dataclass(frozen=True)
class Carried:
    """What a message says of its trace."""

    trace_id: int
    span_id: int
    """Of whoever sent it."""
    flags: int
    last: Attempt | None


def headers_of(trace_id: int, span_id: int, flags: int) -> dict[str, str]:
    """Of a message that nobody has taken yet. What is not sampled leaves out who had it."""
    headers = {"traceparent": f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"}
    return headers | {"tracestate": NOBODY} if flags & 1 else headers


def carried_by(message: bytes) -> Carried | None:
    """None: it has no trace, or none that can be read."""
    parent = _PARENT.search(message)
    if parent is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in parent.groups())
    if not trace_id or not span_id:
        return None
    return Carried(trace_id, span_id, flags, _last(message))


def _last(message: bytes) -> Attempt | None:
    state = _STATE.search(message)
    if state is None or not (span_id := int(state[1], 16)):
        return None
    return Attempt(span_id, int(state[2]) / 1000, state[3] == b"x", int(state[4], 16))


def attempt_id(lease: str) -> int:
    """The span of the attempt under a lease. Redis computes the same."""
    return int(hashlib.sha1(lease.encode(), usedforsecurity=False).hexdigest()[:16], 16)
