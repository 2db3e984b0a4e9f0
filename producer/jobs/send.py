"""Jobs into queues, many at a time. What it costs to send one is paid once for all of them.

Knows nothing of the bucket: whether a job is still wanted is decided before.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat

from shared import telemetry
from shared.broker.apps import CAPTION_QUEUES, CAPTION_TASK, reaching_redis
from shared.broker.leased_queues import LeasedQueues
from shared.broker.sharing import Share, list_of
from shared.cards import CLASSES
from shared.errors import ConfigError
from shared.messages import CaptionJob, Recipe
from shared.settings import CardName
from shared.telemetry import tracing

AT_ONCE = 500
"""Messages in one call to Redis, which does nothing else meanwhile: some milliseconds."""
FULL_S = 0.5
"""Before a full queue is looked at again."""


def queue_of(card: CardName, *, bulk: bool) -> str:
    """Raises ConfigError: this class has no queue."""
    queue = f"{CLASSES[card].queue}{'.bulk' if bulk else ''}"
    if queue not in CAPTION_QUEUES:
        raise ConfigError(f"{card} is no class of jobs", cure="`jamak cards` shows them.")
    return queue


def messages(jobs: Iterable[CaptionJob], headers: Iterable[Mapping[str, str]] = ()) -> list[str]:
    """As workers take them. A message's id is its job's, so that queues can be searched.

    Jobs that share a recipe, the very object, share the work on it.

    Args:
        headers: for each of the jobs, or none: they are not traced.
    """
    from shared.broker.transport import rendered  # brings kombu: for those who send

    recipes: dict[int, tuple[Recipe, str, str]] = {}
    made = []
    for job, traced in zip(jobs, chain(headers, repeat({})), strict=False):
        known = recipes.get(id(job.recipe))
        if known is None:
            known = recipes[id(job.recipe)] = (
                job.recipe,
                job.recipe.id,
                job.recipe.model_dump_json(),
            )
        _, recipe_id, recipe = known
        rest = job.model_dump_json(exclude={"recipe"})
        name = f"{recipe_id}-{job.video.video8}"
        payload = f'{{"recipe": {recipe}, {rest[1:]}'
        made.append(rendered(CAPTION_TASK, name, payload, traced))
    return made


def grouped(
    queues: LeasedQueues,
    queue: str,
    jobs: Sequence[CaptionJob],
    headers: Sequence[Mapping[str, str]] = (),
) -> Mapping[Share, Sequence[str]]:
    """Their messages, by whose they are. Raises redis.RedisError.

    Args:
        headers: as `messages`.
    """
    uris = (job.video.uri for job in jobs)
    return queues.sharing.groups(queue, uris, messages(jobs, headers))


def named(jobs: Iterable[CaptionJob]) -> Iterator[tuple[str, str]]:
    """For their traces: id, and what each is about."""
    return ((job.id, job.video.uri) for job in jobs)


def send(
    queues: LeasedQueues,
    queue: str,
    jobs: Sequence[CaptionJob],
    happened_s: Sequence[float | None] = (),
) -> None:
    """At the end of a queue, each in its tenant's list.

    Args:
        happened_s: when, since 1970, what each of the jobs is sent for; for its trace.

    Raises:
        BrokerUnavailable: some of them may have been sent.
    """
    with reaching_redis():
        for start in range(0, len(jobs), AT_ONCE):
            some = jobs[start : start + AT_ONCE]
            with tracing.sending(queue, named(some), happened_s[start:]) as headers:
                queues.put(queue, grouped(queues, queue, some, headers))
    telemetry.JOBS_ENQUEUED.labels(queue).inc(len(jobs))


def send_as_room_allows(
    queues: LeasedQueues, queue: str, jobs: Iterable[CaptionJob], room: Callable[[str], int]
) -> int:
    """Wait for room where there is none, which holds up no other tenant; how many were sent.

    Args:
        room: of the queue, or of a tenant's list in it.
    """
    waiting: dict[str, deque[CaptionJob]] = {}
    with reaching_redis():
        for job in jobs:
            name = list_of(queue, queues.sharing.tenant_of(queue, job.video.uri))
            waiting.setdefault(name, deque()).append(job)
    sent = 0
    while waiting:
        before = sent
        for name, some in list(waiting.items()):
            fitting = range(min(room(name), AT_ONCE, len(some)))
            send(queues, queue, [some.popleft() for _ in fitting])
            sent += len(fitting)
            if not some:
                del waiting[name]
        if sent == before:
            time.sleep(FULL_S)
    return sent
