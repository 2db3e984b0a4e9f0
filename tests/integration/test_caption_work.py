"""A caption's life without Celery, where the model itself must misbehave."""

from pathlib import Path

import pytest

from shared.cards import CLASSES, CardChoice
from shared.errors import EmptyCaption
from shared.messages import AdapterUsed, Decoding, ModelIdentity
from tests.adapters import publish
from tests.videos import write_clip
from tests.world import World
from workers.caption.budget import Plan
from workers.caption.captioner import Answer
from workers.delivery.adapters import AdapterFollower
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

    def __init__(self) -> None:
        self.adapters: list[str | None] = []

    def validate_adapter(self, version: str, directory: Path) -> None:
        pass

    def use_adapter(self, adapter: AdapterUsed | None, directory: Path | None) -> None:
        self.adapters.append(adapter.version if adapter else None)


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


def test_a_pointer_that_cannot_be_read_now_is_followed_later(world: World, tmp_path: Path) -> None:
    base = ModelIdentity(id="m", revision="r", weights_sha256="d" * 64)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    version = publish(world.registry, tmp_path, base).version
    captioner = Silent()
    follower = AdapterFollower(world.registry, captioner, base.weights_sha256, 60, None)
    key = f"{world.prefix}adapters/{base.weights_sha256[:12]}/active.json"
    world.store.put(world.output, key, b"half a poin")
    follower.look()
    assert captioner.adapters == []
    world.store.delete(world.output, key)
    world.registry.activate(base.weights_sha256, version)
    follower.look()
    assert captioner.adapters == [version]
