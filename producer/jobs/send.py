"""Jobs into queues, many at a time. What it costs to send one is paid once for all of them.

Knows nothing of the bucket: whether a job is still wanted is decided before.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from shared import telemetry
from shared.broker.apps import CAPTION_QUEUES, CAPTION_TASK, reaching_redis
from shared.broker.leased_queues import LeasedQueues
from shared.broker.sharing import Share, list_of
from shared.cards import CLASSES
from shared.errors import ConfigError
from shared.messages import CaptionJob, Recipe
from shared.settings import CardName

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


def messages(jobs: Iterable[CaptionJob]) -> list[str]:
    """As workers take them. A message's id is its job's, so that queues can be searched.

    Jobs that share a recipe, the very object, share the work on it.
    """
    from shared.broker.transport import rendered  # brings kombu: for those who send

    recipes: dict[int, tuple[Recipe, str, str]] = {}
    made = []
    for job in jobs:
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
        made.append(rendered(CAPTION_TASK, name, f'{{"recipe": {recipe}, {rest[1:]}'))
    return made


def grouped(
    queues: LeasedQueues, queue: str, jobs: Sequence[CaptionJob]
) -> Mapping[Share, Sequence[str]]:
    """Their messages, by whose they are. Raises redis.RedisError."""
    return queues.sharing.groups(queue, (job.video.uri for job in jobs), messages(jobs))


def send(queues: LeasedQueues, queue: str, jobs: Sequence[CaptionJob]) -> None:
    """At the end of a queue, each in its tenant's list.

    Raises:
        BrokerUnavailable: some of them may have been sent.
    """
    with reaching_redis():
        for start in range(0, len(jobs), AT_ONCE):
            queues.put(queue, grouped(queues, queue, jobs[start : start + AT_ONCE]))
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
