"""A warm-up before rows are counted; the device's memory is played, what is computed is not."""

from pathlib import Path

import pytest
import torch

from shared.cards import CLASSES
from shared.errors import ConfigError, DoesNotFit
from workers.caption.budget import plan_card
from workers.caption.card_plan import VISION_FRAMES, Asked, CardPlan
from workers.caption.engine.engine import Engine, Size, StepFailed
from workers.caption.engine.requests import Request, Ticket
from workers.caption.machines import GIB, RESERVE, machine_of
from workers.caption.warmup import enough_memory, free_after_warmup
from workers.model.geometry import Geometry
from workers.model.loading import LoadedModel

pytestmark = pytest.mark.model


class Played:
    """A device that has so much left when nothing runs, and of which a step takes a part."""

    def __init__(self, free: int, took: int) -> None:
        self._free, self._took = free, took
        self.said: list[str] = []

    def begin(self) -> None:
        self.said.append("begin")

    def most(self) -> int:
        self.said.append("most")
        return self._took

    def free(self) -> tuple[int, int]:
        self.said.append("free")
        return self._free, 16 * GIB


@pytest.fixture(scope="module")
def plan(checkpoint: Path) -> CardPlan:
    return plan_card(CLASSES["t4"], machine_of(CLASSES["t4"]), Geometry.read(checkpoint), Asked())


def test_the_largest_prompt_is_computed_before_memory_is_looked_at(
    loaded: LoadedModel, plan: CardPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    submit = Engine.submit

    def noticed(engine: Engine, request: Request) -> Ticket:
        asked.append(request)
        patches = loaded.layout.patches_per_side**2
        assert engine.size.patches == VISION_FRAMES * patches
        return submit(engine, request)

    monkeypatch.setattr(Engine, "submit", noticed)
    memory = Played(4 * GIB, took=GIB)
    left = free_after_warmup(loaded, plan, memory)
    assert memory.said == ["begin", "most", "free"]
    [request] = asked
    assert request.longest == plan.positions.value
    assert request.pixels is not None
    assert len(request.pixels) == plan.frames.value
    assert 3 * GIB - RESERVE * 16 * GIB - left < 64 * 2**20  # the rest: logits of all rows


def test_a_device_that_has_less_than_the_formula_says_gets_fewer_rows(plan: CardPlan) -> None:
    fewer = plan.within(plan.adapter_bytes + 3 * plan.row_bytes)
    assert (plan.rows.value, fewer.rows.value) == (64, 3)
    assert "warm-up" in fewer.rows.why
    with pytest.raises(DoesNotFit, match="free after a warm-up"):
        plan.within(plan.row_bytes)


def test_memory_that_runs_out_at_the_start_is_told_with_a_cure(loaded: LoadedModel) -> None:
    told = pytest.raises(ConfigError, match="before the first caption")
    with told as refused, enough_memory():
        Engine(loaded, Size(rows=2**30, positions=64))
    assert "nvidia-smi" in refused.value.cure
    with told, enough_memory():
        torch.empty(1 << 46)
    with pytest.raises(StepFailed), enough_memory():
        raise StepFailed("a kernel")
