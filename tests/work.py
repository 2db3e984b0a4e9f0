"""A caption's life without Celery, and a captioner that says what a test wants."""

from collections.abc import Callable
from pathlib import Path

from shared.cards import CLASSES, CardChoice
from shared.messages import AdapterUsed, CaptionJob, Decoding, ModelIdentity
from tests.world import World
from workers.caption.captioner import Answer
from workers.caption.frames import Plan
from workers.delivery.lease import Lease
from workers.delivery.leases import Leases
from workers.jobs.caption import CaptionWork
from workers.model.adapter_files import Adapter
from workers.progress import Progress
from workers.video.pool import DecoderPool
from workers.video.shape import Frames


class Silent:
    """A captioner whose model has nothing to say."""

    shape = None

    def sight(self, frames: int) -> str:
        return ""

    def longest(self, decoding: Decoding) -> int:
        return decoding.max_new_tokens

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        return Plan(frames=2, visual_tokens=2, reason="")

    def caption(
        self,
        frames: Frames,
        prompt: str,
        decoding: Decoding,
        progress: Progress,
        canary: int | None = None,
    ) -> Answer:
        return Answer(" \n", True, 2, 3, 1, None)

    def __init__(self) -> None:
        self.adapters: list[str | None] = []
        self.tried: list[AdapterUsed] = []

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        return True

    def answer(
        self, prompt: str, decoding: Decoding, progress: Progress, canary: int | None = None
    ) -> Answer:
        return Answer("", True, 0, 3, 0, None)

    def check_adapter(self, version: str, directory: Path) -> Adapter:
        return Adapter(1, {})

    def use_adapter(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        self.adapters.append(used.version if used else None)

    def try_adapter(self, used: AdapterUsed, adapter: Adapter | None) -> None:
        self.tried.append(used)


def never(job: CaptionJob, queue: str) -> None:
    raise AssertionError("nothing was overwritten")


def work_with(
    world: World,
    captioner: Silent,
    decoders: DecoderPool,
    draining: Callable[[], bool] = lambda: False,
) -> CaptionWork:
    card = CardChoice(CLASSES["l4"], "cpu", "float32", "a test")
    model = ModelIdentity(id="tests/tiny", revision="1", weights_sha256="0" * 64)
    return CaptionWork(
        world.settings, world.store, captioner, model, card, decoders, never, draining
    )


def taken(world: World, job: CaptionJob) -> Lease:
    world.send(job)
    leases = Leases(world.queues, 1, dict)
    delivery = leases.receive(["caption.t4"], 5)
    assert delivery is not None
    return leases.of(delivery.lease)
