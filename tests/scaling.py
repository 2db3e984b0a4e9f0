"""A fleet as the scaler sees it: messages in real queues, and workers that say what they do."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from producer.jobs.send import messages, send
from producer.scaling.answers import Answer, look_once
from producer.scaling.demand import Outside, Unfed
from shared.broker.apps import caption_prefix, leased_queues, train_prefix
from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import LeasedQueues
from shared.cards import CLASSES, served_queues
from shared.messages import CaptionJob, Recipe, Sampling, Video
from shared.settings import CardName, Settings


def recipe(frames: int | None = None, segments: str | None = None) -> Recipe:
    sampling = Sampling(frames=frames, segments=segments)
    return Recipe(prompt="?", sampling=sampling, model="m", revision="r")


def jobs(count: int, asked: Recipe | None = None) -> list[CaptionJob]:
    videos = (Video(bucket="b", key=f"{n}.mp4", etag="e", size_bytes=1) for n in range(count))
    return [CaptionJob(video=video, recipe=asked or recipe()) for video in videos]


class Fleet:
    """Args:
    settings: of this Redis and prefix, and of what is scaled.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.queues = leased_queues(settings, caption_prefix(settings))
        self.training = leased_queues(settings, train_prefix(settings))

    def put(self, queue: str, count: int, asked: Recipe | None = None) -> None:
        send(self.queues, queue, jobs(count, asked))

    def feed(self, queue: str, count: int, asked: Recipe | None = None) -> None:
        """As the feeder does."""
        lines = messages(jobs(count, asked))
        BacklogProgress(self.queues, f"b-{uuid4().hex[:8]}").feed(queue, 0, count, lines)

    def take(self, queue: str, count: int, by: LeasedQueues | None = None) -> list[str]:
        taker = by or self.queues
        found = [taker.take(taker.new_lease(), [queue]) for _ in range(count)]
        assert all(found)
        return [one.lease for one in found if one]

    def worker(self, card: CardName, **about: Any) -> LeasedQueues:
        """One that has beaten once."""
        made = leased_queues(self.settings, self.queues.prefix)
        made.beat({"card": card, "queues": served_queues(CLASSES[card]), **about}, [])
        return made

    def look(self, unfed: Iterable[Unfed] = (), outside: Outside = Outside()) -> dict[str, Answer]:
        return look_once(self.settings, self.queues, self.training, list(unfed), outside).answers
