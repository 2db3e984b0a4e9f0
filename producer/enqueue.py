"""Videos become jobs on the road: which recipe, which queue, and on it."""

from collections.abc import Iterable
from dataclasses import dataclass

from celery import Celery

from shared import telemetry
from shared.broker import CAPTION_TASK, queues_of, reaching_redis
from shared.cards import CLASSES, GPU_CLASSES
from shared.errors import ConfigError
from shared.keys import record_key
from shared.messages import CaptionJob, Decoding, Recipe, Sampling, Video
from shared.prompts import check_prompt
from shared.settings import CardName, Settings
from shared.storage import ObjectStore

log = telemetry.get_logger("jamak.enqueue")


def recipe_of(
    settings: Settings,
    *,
    prompt: str | None = None,
    frames: int | None = None,
    generation: int | None = None,
) -> Recipe:
    """The recipe of new jobs: the settings', with what is named here instead.

    Raises:
        ConfigError: the prompt cannot be answered.
    """
    return Recipe(
        prompt=check_prompt(prompt or settings.prompt),
        sampling=Sampling(frames=frames),
        model=settings.model,
        revision=settings.model_revision,
        decoding=Decoding(max_new_tokens=settings.max_new_tokens),
        generation=settings.generation if generation is None else generation,
    )


def least_class(card: CardName | None, frames: int | None) -> CardName:
    """The smallest class that may do it: the one named, or the first that takes so many frames.

    Raises:
        ConfigError: no class takes so many frames, or not the one named.
    """
    able = [name for name in GPU_CLASSES if frames is None or CLASSES[name].frames >= frames]
    if not able:
        most = CLASSES[GPU_CLASSES[-1]].frames
        raise ConfigError(f"no card takes {frames} frames", cure=f"Ask for {most} at the most.")
    if card == "cpu":
        raise ConfigError(
            "cpu is no class of jobs", cure="Name the least GPU class; a CPU worker serves t4."
        )
    if card is None:
        return able[0]
    if card not in able:
        raise ConfigError(
            f"{card} takes {CLASSES[card].frames} frames, not {frames}",
            cure=f"Name {able[0]} or leave --card out.",
        )
    return card


@dataclass(frozen=True)
class Enqueued:
    queue: str
    enqueued: int
    already: int
    """Have their record: nothing to do."""
    served: bool
    """Some live worker takes from this queue."""


def enqueue(
    app: Celery,
    store: ObjectStore,
    settings: Settings,
    videos: Iterable[Video],
    recipe: Recipe,
    *,
    card: CardName = "t4",
    bulk: bool = False,
    dry_run: bool = False,
) -> Enqueued:
    """Put a job on the road for each video that has no record yet.

    Raises:
        BrokerUnavailable: Redis does not take it.
    """
    queue = CLASSES[card].queue + (".bulk" if bulk else "")
    sent = already = 0
    with reaching_redis(), app.producer_or_acquire() as producer:
        for video in videos:
            job = CaptionJob(video=video, recipe=recipe, card=card)
            if store.exists(settings.output_bucket, record_key(settings.output_prefix, job)):
                already += 1
                continue
            if not dry_run:
                app.send_task(
                    CAPTION_TASK,
                    args=(job.model_dump(mode="json"),),
                    queue=queue,
                    producer=producer,
                )
                telemetry.JOBS_ENQUEUED.labels(queue).inc()
            sent += 1
        served = queue in queues_of(app).serving()
    if sent and not served:
        log.warning("no live worker serves this queue", queue=queue)
    return Enqueued(queue, sent, already, served)
