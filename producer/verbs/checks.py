"""What `jamak doctor` looks at: each check asks one thing, as the processes do when they start.

A check returns what it found, or raises: a JamakError is a failure and its cure. It
changes no job and no caption, and leaves what every process leaves that starts: the probe objects
on which a store is tried, and in Redis the keys `run` and `clock`. For a moment it counts
there as a worker, one that serves no queue.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import redis

from producer.results.sinks import teller_of
from producer.uploads.sqs import dead_letters_of, sqs_client
from producer.verbs.console import size
from shared.broker.apps import (
    CAPTION_QUEUES,
    TRAIN_QUEUE,
    caption_prefix,
    leased_queues,
    reaching_redis,
    train_prefix,
)
from shared.broker.connections import Reach, connected, named_by
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_captioner, prove_producer, prove_reader, prove_trainer
from shared.broker.refusals import check_policy, meaning
from shared.broker.told_results import Results
from shared.bucket import proofs
from shared.bucket.storage import ObjectStore, naming
from shared.cards import choose_card, detect_gpu
from shared.errors import BrokerRefuses, ConfigError, JamakError
from shared.redis_url import Place
from shared.settings import Output, Settings
from shared.sinks import shown_sink

LONGEST_S = 12.0
"""Of one check; longer than a server that does not answer is waited for in it."""
SKEW_S, FATAL_SKEW_S = 30.0, 900.0
"""A clock that is off by so much is worth a look; S3 refuses requests that are off by so much."""

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Found:
    check: str
    status: Status
    found: str
    cure: str = ""


class Doubt(Exception):
    """It works, and somebody should know."""

    def __init__(self, found: str, cure: str) -> None:
        super().__init__(found)
        self.found, self.cure = found, cure


Ask = Callable[[], "str | list[Found]"]
"""Several findings: of a check with several parts."""


def examine(checks: Sequence[tuple[str, Ask]]) -> list[Found]:
    """All of them at once, each with its own end; in their order."""
    found: dict[str, list[Found]] = {}

    def run(name: str, ask: Ask) -> None:
        found[name] = _outcome(ask)

    # Daemons: one that hangs must not keep the command.
    threads = [threading.Thread(target=run, args=check, daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    until = time.monotonic() + LONGEST_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"no answer within {LONGEST_S:.0f} s"
    cure = "Check that the server is healthy, and that nothing drops what is sent to it."
    none = [Found("", "failed", late, cure)]
    return [
        replace(one, check=" ".join(filter(None, (name, one.check))))
        for name, _ in checks
        for one in found.get(name, none)
    ]


def _outcome(ask: Ask) -> list[Found]:
    try:
        told = ask()
    except Doubt as doubt:
        return [Found("", "warning", doubt.found, doubt.cure)]
    except JamakError as error:
        return [Found("", "failed", str(error), error.cure)]
    except Exception as error:  # a check of ours that is wrong must not hide the others
        return [Found("", "failed", f"{type(error).__name__}: {error}", "Please report it.")]
    return [Found("", "ok", told)] if isinstance(told, str) else told


def checks_of(settings: Settings) -> Iterator[tuple[str, Ask]]:
    """Name -> check, for all that these settings name."""
    yield "redis", partial(redis_answers, settings)
    if settings.redis.kind != "server":
        yield "redis primary", partial(redis_primary, settings)
    if settings.redis.kind == "cluster":
        yield "redis keys without a hash tag", partial(redis_left_behind, settings)
    yield "redis user", partial(redis_roles, settings)
    yield "redis maxmemory-policy", partial(redis_policy, settings)
    yield "redis append-only file", partial(redis_aof, settings)
    for variable, output in settings.named_outputs:
        where = f"s3://{output.bucket}/{output.prefix}"
        yield f"bucket {where}", partial(bucket_reads, output, variable)
        yield f"store {where}", partial(store_can, output, variable)
    for variable, source in named_sources(settings):
        where = f"s3://{source.bucket}/{source.prefix}"
        yield f"bucket {where}", partial(bucket_reads, source, variable)
    yield "events queue", partial(events_queue, settings)
    if settings.results:
        yield "results", partial(results_are_told, settings)
    yield "model", partial(model_is_there, settings, os.environ)
    yield "card", partial(card_here, settings)
    yield "clock and S3", partial(clock_of_s3, settings, time.time)
    yield "clock and Redis", partial(clock_of_redis, settings, time.time)


# Redis


def redis_answers(settings: Settings) -> str:
    queues = leased_queues(settings, caption_prefix(settings))
    try:
        queues.prove_answer()
        host, port = queues.server
    finally:
        queues.redis.close()
    url = settings.redis
    how = "over TLS" if url.tls else "without TLS"
    user = url.user or "default"
    if settings.redis_credentials:
        user = f"{user} ({settings.redis_credentials})"
    return f"{host}:{port} answers {how}, as user {user}"


def redis_primary(settings: Settings) -> str:
    """Whether all sentinels or nodes that JAMAK_REDIS_URL names agree where the primary is."""
    url, prefix = settings.redis, caption_prefix(settings)
    named = named_by(url, prefix, Reach.of(settings))
    primaries = {one for one in named.values() if not isinstance(one, redis.RedisError)}
    told = [f"{_at(place)} names {_at(one)}" for place, one in named.items()]
    if not primaries:
        raise meaning(next(one for one in named.values() if isinstance(one, redis.RedisError)))
    if len(set(named.values())) > 1:
        raise Doubt(
            "; ".join(told),
            "Jamak goes on while one of them is right. See that all of them run and see each "
            "other, or correct JAMAK_REDIS_URL.",
        )
    (primary,) = primaries
    return f"{len(named)} of {len(named)} say that the primary of {prefix} is {_at(primary)}"


def _at(place: Place | redis.RedisError) -> str:
    return f"none ({place})" if isinstance(place, redis.RedisError) else "{}:{}".format(*place)


def redis_left_behind(settings: Settings) -> str:
    """What came from a Redis without a cluster lies under other keys, which nobody looks at."""
    name, left = settings.redis_prefix, 0
    if caption_prefix(settings) == f"{name}:":
        return "the prefix has a hash tag of its own"
    keys = (*(f"{name}:{queue}" for queue in CAPTION_QUEUES), f"{name}-train:{TRAIN_QUEUE}")
    with asking(), reaching_redis():
        for key in keys:
            with connected(settings.redis, key, Reach.of(settings)) as client:
                left += int(client.llen(key))
    if left:
        raise Doubt(
            f"{left} messages lie under {name}: and {name}-train:, where nobody takes them",
            "They are of a Redis without a cluster. `jamak reconcile` finds their videos in the "
            "bucket; delete these keys after that.",
        )
    return "none"


def redis_roles(settings: Settings) -> str:
    """Which roles this user may play. A user for each role is how it should be: one is enough."""
    captions = leased_queues(settings, caption_prefix(settings))
    training = leased_queues(settings, train_prefix(settings))
    roles: dict[str, Callable[[], None]] = {
        "captioner": partial(prove_captioner, captions),
        "trainer": partial(prove_trainer, training),
        "producer (listener, feeder, jamak)": partial(prove_producer, captions),
        "operator (also jamak train)": partial(_prove_both, captions, training),
        "retrainer (jamak retrain)": partial(prove_producer, training),
        "reader (jamak status)": partial(prove_reader, captions),
    }
    may, may_not = [], {}
    for role, prove in roles.items():
        try:
            prove()
        except BrokerRefuses as error:
            may_not[role] = error
        else:
            may.append(role)
    if not may:
        raise next(iter(may_not.values()))
    if may_not:
        lacks = "; ".join(f"not {role}: {error}" for role, error in may_not.items())
        raise Doubt(
            f"may be {', '.join(may)}; {lacks}",
            "Nothing to do if that is this user's role; else infra/redis/users.acl has them all.",
        )
    return f"may be {', '.join(may)}"


def _prove_both(captions: LeasedQueues, training: LeasedQueues) -> None:
    prove_producer(captions)
    prove_producer(training)


def redis_policy(settings: Settings) -> str:
    return check_policy(_info(settings, "memory"))


def redis_aof(settings: Settings) -> str:
    if _info(settings, "persistence").get("aof_enabled") != 1:
        raise ConfigError(
            "there is no append-only file: a restart of Redis loses what waits in it",
            cure="CONFIG SET appendonly yes, and the same in its configuration. What was lost, "
            "`jamak reconcile` finds.",
        )
    return "on"


def _info(settings: Settings, section: str) -> Mapping[str, Any]:
    with asking(), reaching_redis():
        told: Any = leased_queues(settings, caption_prefix(settings)).redis.info(section)
    return dict(told)


@contextmanager
def asking() -> Iterator[None]:
    """Around what not every role may ask."""
    try:
        yield
    except BrokerRefuses as error:
        raise Doubt(
            f"this user may not ask: {error}", "Run `jamak doctor` as the captioner's user."
        ) from error


# Buckets


def named_sources(settings: Settings) -> Iterator[tuple[str, Output]]:
    named = dict.fromkeys(settings.sources, "JAMAK_SOURCES")
    named |= dict.fromkeys(settings.outputs, "JAMAK_OUTPUTS")
    for uri, variable in named.items():
        bucket, _, prefix = uri[5:].partition("/")
        yield variable, Output(bucket, prefix)


_MAKING = threading.Lock()
"""boto3 makes one client at a time."""


def _store() -> ObjectStore:
    with _MAKING:
        return ObjectStore(tries=1)


def bucket_reads(place: Output, variable: str) -> str:
    with naming(variable):
        page, more = _store().list_page(place.bucket, place.prefix)
    count = f"{len(page)}{'+' if more else ''}"
    return f"readable, {count} objects ({variable})"


def store_can(place: Output, variable: str) -> list[Found]:
    """What we rely on, each in its row."""
    with naming(variable):
        tried = proofs.look(_store(), place)
    return [
        Found(one.name, "failed" if one.verdict == "refused" else "ok", one.how, one.cure)
        for one in tried
    ]


# The rest


def events_queue(settings: Settings) -> str:
    url = settings.events_queue_url
    if url is None:
        return "JAMAK_EVENTS_QUEUE_URL is not set: uploads are not noticed, enqueue them yourself"
    with _MAKING:
        sqs = sqs_client(tries=1)
    dead = dead_letters_of(sqs, url)
    return f"{url}, dead letters {dead}"


def results_are_told(settings: Settings) -> str:
    """Whether they could be by this process, and are by the one that does it."""
    to = shown_sink(settings.results)
    try:
        with _MAKING:
            teller_of(settings)
    except ConfigError as error:
        raise Doubt(f"{error}: the feeder cannot tell {to}", error.cure) from error
    with asking(), reaching_redis():
        queues = leased_queues(settings, caption_prefix(settings))
        untold = Results(queues).untold()
    if untold.why:
        raise Doubt(f"{untold.waiting} wait to be told: {untold.why}", "See docs/events.md.")
    return f"{untold.waiting} wait to be told to {to}"


def model_is_there(settings: Settings, environ: Mapping[str, str]) -> str:
    """As far as can be seen without torch: its weights are there, and its configuration reads."""
    name = f"{settings.model} ({settings.model_revision})"
    folder = settings.model_path or cached_model(settings, environ)
    if folder is None:
        if environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "True", "YES", "ON"):
            raise ConfigError(
                f"{name} is not cached here, and HF_HUB_OFFLINE forbids to fetch it",
                cure="Set JAMAK_MODEL_PATH to a local copy, or let it be fetched.",
            )
        raise Doubt(
            f"{name} is not cached here",
            "Nothing to do: a worker fetches it when it starts. JAMAK_MODEL_PATH names a copy.",
        )
    cure = "Set JAMAK_MODEL_PATH to a directory made by save_pretrained."
    try:
        kind = json.loads((folder / "config.json").read_bytes())["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} holds no readable config.json: {error}", cure=cure) from error
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if not weights:
        raise ConfigError(f"{folder} holds no *.safetensors", cure=cure)
    return f"{name}: {kind}, {size(weights)} of weights in {folder}"


def cached_model(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """In the Hugging Face cache, by the layout of its hub: refs name snapshots."""
    home = environ.get("HF_HOME") or Path(
        environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface"
    )
    hub = Path(environ.get("HF_HUB_CACHE") or Path(home, "hub"))
    folder = hub / f"models--{settings.model.replace('/', '--')}"
    ref = folder / "refs" / settings.model_revision
    commit = ref.read_text().strip() if ref.is_file() else settings.model_revision
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def card_here(settings: Settings) -> str:
    choice = choose_card(settings, detect_gpu())
    return f"{choice.card.name} on {choice.device} with {choice.dtype}: {choice.reason}"


def clock_of_s3(settings: Settings, now: Callable[[], float]) -> str:
    ahead_s = _store().client.clock_ahead_s(settings.output_bucket, now)
    if ahead_s is None:
        raise Doubt("S3 does not tell its time", "Nothing to do.")
    return _skew("S3", ahead_s)


def clock_of_redis(settings: Settings, now: Callable[[], float]) -> str:
    with reaching_redis():
        told: Any = leased_queues(settings, caption_prefix(settings)).redis.time()
    return _skew("Redis", now() - told[0] - told[1] / 1e6)


def _skew(whose: str, ahead_s: float) -> str:
    way = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} {whose}'s"
    cure = "Set this machine's clock: run NTP (chrony, systemd-timesyncd)."
    if abs(ahead_s) >= FATAL_SKEW_S and whose == "S3":
        raise ConfigError(f"this clock is {way}, and S3 refuses such requests", cure=cure)
    if abs(ahead_s) >= SKEW_S:
        raise Doubt(f"this clock is {way}", cure)
    return f"this clock is {way}"
