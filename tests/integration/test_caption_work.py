"""A caption's life without Celery, where the model itself must misbehave."""

from pathlib import Path

import pytest

from shared.cards import CLASSES, CardChoice
from shared.errors import EmptyCaption
from shared.messages import AdapterUsed, Decoding, ModelIdentity
from tests.videos import write_clip
from tests.world import World
from workers.caption.budget import Plan
from workers.caption.captioner import Answer
from workers.delivery.caption import CaptionWork
from workers.progress import Progress
from workers.video.sampling import Frames

pytestmark = pytest.mark.integration


class Silent:
    """A captioner whose model has nothing to say."""

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        return Plan(frames=2, visual_tokens=2, reason="")

    def caption(
        self, frames: Frames, prompt: str, decoding: Decoding, progress: Progress
    ) -> Answer:
        return Answer(" \n", True, 2, 3, 1, None)

    def validate_adapter(self, version: str, directory: Path) -> None:
        raise NotImplementedError

    def use_adapter(self, adapter: AdapterUsed | None, directory: Path | None) -> None:
        raise NotImplementedError


def test_an_empty_caption_is_a_failure_that_says_so(world: World, tmp_path: Path) -> None:
    card = CardChoice(CLASSES["l4"], "cpu", "float32", "a test")
    model = ModelIdentity(id="tests/tiny", revision="1", weights_sha256="0" * 64)
    work = CaptionWork(world.settings, world.store, Silent(), model, card)
    job = world.job(world.upload(write_clip(tmp_path / "a.mp4", 12), "silent.mp4"))
    with pytest.raises(EmptyCaption) as caught:
        work.run(job)
    work.fail(job, caught.value, attempts=1)
    failure = world.failure(job)
    assert (failure.reason, failure.flags) == ("empty_caption", ("empty", "emulated"))
