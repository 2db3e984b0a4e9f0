"""What a backlog's tests need: objects like videos, and the part of the workers, played by hand."""

import json
from collections.abc import Container
from datetime import UTC, datetime

from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import Delivery
from shared.bucket.records import Records
from shared.messages import (
    Caption,
    CaptionJob,
    CardUsed,
    Failure,
    FramesUsed,
    ModelIdentity,
    TokensUsed,
    Video,
    decode,
)
from tests.world import World

QUEUE = "caption.t4.bulk"


def fill(world: World, name: str, videos: int) -> list[Video]:
    """Objects like videos, whose keys do not sort like their records' keys."""
    for number in range(videos):
        key = f"{name}/{'-' * (number % 3)}{number // 3:03}{'!한/'[number % 3]}x.mp4"
        world.store.put(world.videos, key, f"video {number}".encode())
    return [
        Video(bucket=one.bucket, key=one.key, etag=one.etag, size_bytes=one.size_bytes)
        for one in world.store.list(world.videos, f"{name}/")
    ]


def take_all(world: World, most: int = 10**6) -> list[tuple[Delivery, CaptionJob]]:
    """All that waits, under leases."""
    found = []
    while len(found) < most and (delivery := world.queues.take(world.queues.new_lease(), [QUEUE])):
        args, _, _ = json.loads(json.loads(delivery.message)["body"])
        found.append((delivery, decode(CaptionJob, args[0])))
    return found


def caption_of(job: CaptionJob) -> Caption:
    return Caption(
        status="ok",
        flags=(),
        text=f"{job.video.key}의 자막",
        video=job.video,
        last_modified=datetime.now(UTC),
        duration_s=1.0,
        frames=FramesUsed(requested=1, decoded=1, timestamps_s=(0.5,)),
        tokens=TokensUsed(visual=1, prompt=1, generated=1),
        recipe_id=job.recipe.id,
        recipe=job.recipe,
        model=ModelIdentity(id="m", revision="r", weights_sha256="0"),
        adapter=None,
        card=CardUsed(name="cpu", device="cpu", dtype="float32", quantized=False),
        timings_s={},
        created_at=datetime.now(UTC),
        jamak="0",
    )


def failure_of(job: CaptionJob, reason: str = "truncated") -> Failure:
    return Failure(
        reason=reason,
        message="cut off",
        cure="upload it again",
        evidence={"bytes": 5},
        video=job.video,
        recipe_id=job.recipe.id,
        recipe=job.recipe,
        card=CardUsed(name="cpu", device="cpu", dtype="float32", quantized=False),
        least=job.card,
        backlog=job.backlog,
        attempts=1,
        created_at=datetime.now(UTC),
        jamak="0",
    )


def work(
    world: World,
    most: int = 10**6,
    *,
    failing: Container[int] = (),
    note: bool = True,
    views: bool = True,
) -> list[CaptionJob]:
    """Do what waits, as a worker does."""
    records = Records(world.store, world.settings)
    done = []
    for at, (delivery, job) in enumerate(take_all(world, most)):
        if at in failing:
            records.write_failure(job, failure_of(job))
            outcome = "failed:truncated"
        else:
            records.write(job, caption_of(job))
            if views:
                records.render(caption_of(job))
            outcome = "done"
        if note and job.backlog:
            BacklogProgress(world.queues, job.backlog.name).note(job.backlog.line, outcome)
        world.queues.ack([delivery.lease])
        done.append(job)
    return done
