"""Whether this Redis lets us play a role: everything that the role does, tried with nothing in it.

First each command by itself, so that all that are refused are named together, and then the scripts
as they are run later. What a role needs stands here, and infra/redis/users.acl grants it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from shared import telemetry
from shared.broker.refusals import check_policy, is_full, meaning, not_allowed, passes
from shared.errors import BrokerRefuses

if TYPE_CHECKING:
    from shared.broker.leased_queues import LeasedQueues

READER, PRODUCER, TRAINER, CAPTIONER = "rptc"
WEIGHER = "w"
"""A reader who looks at what messages ask for."""
HOLDER = "h"
"""A reader who says which workers take nothing (`held.py`)."""
"""Who shows and scales; the listener, the feeder, and the verbs that send; the workers."""
SHARING = "s"
"""A producer, where tenants share the queues."""
TELLING, SENDING = "ed"
"""A worker, where somebody wants to hear of results; and a script, for whoever sends them."""
KEY = object()
"""Of a string, in what follows, so that most of it cannot be done, and nothing is left of it."""
STREAM = object()
HELD = object()
"""The one key that a holder may write: nothing is added to it, and nothing taken away."""
REMAINS_S = 10
TRIES: tuple[tuple[Any, ...], ...] = (
    # Whose, and the command; the first and the last two in this order.
    ("ptc", "SET", KEY, "1", "EX", REMAINS_S),
    ("rp", "BITCOUNT", KEY),
    ("tc", "BLPOP", KEY, 0.01),
    ("rptc", "GET", KEY),
    ("c", "GETBIT", KEY, 0),
    ("p", "GETRANGE", KEY, 0, 0),
    ("tc", "HDEL", KEY, "1"),
    ("tc", "HEXISTS", KEY, "1"),
    ("rptc", "HGET", KEY, "1"),
    ("rp", "HGETALL", KEY),
    ("tc", "HINCRBY", KEY, "1", 0),
    ("rp", "HLEN", KEY),
    ("tc", "HSET", KEY, "1", "1"),
    ("s", "HMGET", KEY, "1"),
    ("p", "HVALS", KEY),
    ("tc", "INFO", "server"),
    ("tc", "LINDEX", KEY, 0),
    ("rptc", "LLEN", KEY),
    ("ptc", "LPUSH", KEY, "1"),
    ("pw", "LRANGE", KEY, 0, 0),
    ("w", "HRANDFIELD", KEY, 1),
    ("p", "LREM", KEY, 0, "1"),
    ("tc", "PEXPIRE", KEY, 1000 * REMAINS_S),
    ("ptc", "PING"),
    ("tc", "RPOP", KEY),
    ("tc", "RPUSH", KEY, "1"),
    ("pc", "SADD", KEY, "1"),
    ("ptc", "SCRIPT LOAD", "return 1"),
    ("c", "SETBIT", KEY, 0, 0),
    ("p", "SETRANGE", KEY, 0, "1"),
    ("rpc", "SMEMBERS", KEY),
    ("rptc", "TIME"),
    ("tcs", "ZADD", KEY, 0, "1"),
    ("h", "ZADD", HELD, "XX", 0, ""),
    ("rp", "ZCARD", KEY),
    ("rptc", "ZRANGE", KEY, 0, 0),
    ("tc", "ZRANGEBYSCORE", KEY, 0, 0),
    ("ptc", "ZREM", KEY, "1"),
    ("h", "ZREM", HELD, ""),
    ("tc", "ZSCORE", KEY, "1"),
    ("pc", "EXPIRE", KEY, 1),
    ("ed", "XADD", STREAM, "*", "1", "1"),
    ("d", "XACK", STREAM, "1", "0-0"),
    ("d", "XDEL", STREAM, "0-0"),
    ("re", "XLEN", STREAM),
    ("e", "XTRIM", STREAM, "MAXLEN", 1),
    ("tc", "DEL", KEY),
)

log = telemetry.get_logger("jamak.redis")


def prove_trainer(queues: "LeasedQueues") -> None:
    """Go through what a worker does.

    Raises:
        BrokerRefuses: this Redis does not let us, or may throw jobs away.
        BrokerUnavailable: it may do so later.
    """
    with _told(queues):
        _try_commands(queues, TRAINER)
        check_policy(queues.redis.info("memory"))
        _try_worker(queues)


def prove_captioner(queues: "LeasedQueues") -> None:
    """The same for one that also counts how the lines of backlogs end. Raises as the other."""
    with _told(queues):
        _try_commands(queues, CAPTIONER)
        check_policy(queues.redis.info("memory"))
        _try_worker(queues)
        try:
            # No backlog can have this name, and it is gone in a second.
            queues.run("note", f"~{queues.worker}", 0, "done", 1)
        except redis.ResponseError as error:
            if not is_full(error):  # then it is drained all the same
                raise


def prove_telling(queues: "LeasedQueues") -> None:
    """Go through what a worker does besides, where results are told. Raises as the others."""
    with _told(queues):
        _try_stream(queues, TELLING)


def prove_results(queues: "LeasedQueues") -> None:
    """Go through what is done by whoever sends results. Raises as the others."""
    from shared.broker.told_results import Results

    with _told(queues):
        _try_stream(queues, SENDING)
        Results(queues).prove()


def prove_producer(queues: "LeasedQueues") -> None:
    """Go through what is done by whoever sends jobs. Raises as the others."""
    with _told(queues):
        _try_commands(queues, PRODUCER + (SHARING if queues.sharing.wanted else ""))
        queues.put("prove", [])
        queues.run("feed", "prove", "~", 0, 0, 1)  # no backlog can have this name
        queues.run("merge", "~", 1, 0)
        queues.redis.lrem(f"{queues.prefix}prove:wake", 0, "1")
        _read(queues)
    queues.prove_writes("prove")


def prove_remover(queues: "LeasedQueues") -> None:
    """For whoever takes away what was sent: the same user, and Redis may be full.

    Raises as the others.
    """
    with _told(queues):
        _try_commands(queues, PRODUCER)
        _read(queues)


def prove_reader(queues: "LeasedQueues") -> None:
    """Go through what `jamak status` reads. Raises as the others."""
    with _told(queues):
        _try_commands(queues, READER)
        _read(queues)


def prove_weigher(queues: "LeasedQueues") -> None:
    """For a process that says how much work there is: it may read, and looks at messages if it may.

    Raises as `prove_reader`.
    """
    prove_reader(queues)
    try:
        with _told(queues):
            _try_commands(queues, WEIGHER)
    except BrokerRefuses as error:
        log.warning(
            "may only count messages: what they ask for, and how old they are, is not known",
            message=str(error),
            cure=error.cure,
        )


def prove_holder(queues: "LeasedQueues") -> None:
    """For a process that says which workers go: that it may not is told, and it goes on.

    Raises BrokerUnavailable.
    """
    try:
        with _told(queues):
            _try_commands(queues, HOLDER)
    except BrokerRefuses as error:
        log.warning(
            "may not hold workers that are to go: a job that one takes last is handed back",
            message=str(error),
            cure="Give it the rights of jamak-autoscaler in infra/redis/users.acl.",
        )


def prove_broker(queues: "LeasedQueues") -> None:
    """For a process that sends for as long as it runs: it may send, and nothing is thrown away.

    Raises as the others.
    """
    prove_producer(queues)
    try:
        with _told(queues):
            memory: Any = queues.redis.info("memory")
    except BrokerRefuses as error:
        cure = "Grant it +info, or let `jamak doctor` look as the captioner's user."
        log.warning("cannot see whether Redis may throw jobs away", message=str(error), cure=cure)
        return
    check_policy(memory)


@contextmanager
def _told(queues: "LeasedQueues") -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise meaning(error, queues.url) from error


def _read(queues: "LeasedQueues") -> None:
    queues.waiting("prove")
    queues.taken("prove")
    queues.counts()
    queues.workers()


def _try_worker(queues: "LeasedQueues") -> None:
    queues.beat({}, [])
    queues.redis.hdel(f"{queues.prefix}clock", "swept")  # so that it is swept now
    queues.take(queues.new_lease(), [])
    nothing = queues.new_lease()
    queues.begin(nothing)
    queues.renew(nothing)
    queues.kept(nothing)
    queues.charge(nothing, 0)
    queues.release(nothing, None)
    queues.poison(nothing, "")
    queues.ack([nothing])
    queues.untake(nothing)
    queues.take(nothing, [])  # then that has left nothing
    queues.redis.blpop([f"{queues.prefix}:wake"], timeout=0.01)
    queues.leave()


def _try_stream(queues: "LeasedQueues", wanted: str) -> None:
    _try_commands(queues, wanted)
    queues.redis.expire(f"{queues.prefix}prove:stream", REMAINS_S)


def _try_commands(queues: "LeasedQueues", wanted: str) -> None:
    """Redis asks first whether a user may, and then whether the command can be done.

    Args:
        wanted: one role, or several.

    Raises BrokerRefuses: with all that it may not. That one fails otherwise says nothing here,
    unless none can be done now: then the others would each be told the same, and wait for it.
    """
    refused: dict[str, redis.ResponseError] = {}
    keys = {
        KEY: f"{queues.prefix}prove:{queues.worker}",
        STREAM: f"{queues.prefix}prove:stream",
        HELD: f"{queues.prefix}held",
    }
    for roles, *command in TRIES:
        if not set(wanted) & set(roles):
            continue
        try:
            words = [keys.get(word, word) for word in command]
            queues.redis.execute_command(*words)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            if passes(error) and not is_full(error):
                raise
            refused[named(command)] = error
    missing = not_allowed(refused, queues.prefix)
    if missing:
        raise missing


def commands_of(role: str) -> set[str]:
    """As an access control list names them."""
    return {named(command) for roles, *command in TRIES if set(role) & set(roles)}


def named(command: Sequence[Any]) -> str:
    return str(command[0]).lower().replace(" ", "|")
