"""Captions in a bucket, and what people say of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from producer.feedback.store import FeedbackStore, Item
from shared.bucket.records import Records
from shared.feedback import Correction, Feedback, Judged, Preference, Thumb, about
from shared.messages import Caption, Video
from tests.backlogs import caption_of
from tests.world import World

NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)
WRONG = "고양이가 창가에서 잡니다."


def captions(world: World, count: int, name: str = "clip") -> list[Caption]:
    """Of objects like videos, each with its record and its view."""
    records, made = Records(world.store, world.settings), []
    for number in range(count):
        key = f"{world.redis_prefix}/{name}{number:03}.mp4"
        etag = world.store.put(world.videos, key, key.encode())
        video = Video(bucket=world.videos, key=key, etag=etag, size_bytes=len(key.encode()))
        job = world.job(video)
        caption = caption_of(job).model_copy(update={"text": f"{WRONG} {number}번"})
        assert records.write(job, caption)
        records.render(caption)
        made.append(caption)
    return made


def judged(world: World, caption: Caption) -> Judged:
    return about(caption, Records(world.store, world.settings).place_of(caption))


def said(
    kind: str,
    judged: Judged,
    caption_text: str = "",
    reviewer: str = "kim",
    at_s: float = 0.0,
    **what: Any,
) -> Feedback:
    """A preference for another text, a correction, or a thumb."""
    who = {"about": judged, "reviewer": reviewer, "at": NOW + timedelta(seconds=at_s)}
    if kind == "preference":
        return Preference(chosen=what["chosen"], rejected=caption_text, **who)
    if kind == "correction":
        return Correction(text=what["text"], **who)
    return Thumb(up=what["up"], **who)


def prefer_all(world: World, made: list[Caption], reviewer: str = "kim") -> list[Item]:
    """Of each caption that another text is better, one after the other."""
    store = FeedbackStore(world.store, world.settings)
    return [
        store.add(
            said(
                "preference",
                judged(world, one),
                one.text,
                reviewer,
                n,
                chosen=f"개가 잡니다. {n}번",
            )
        )
        for n, one in enumerate(made)
    ]
