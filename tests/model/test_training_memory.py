"""The arithmetic of workers/train/memory.py beside what torch really keeps and allocates."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from trl.trainer.utils import add_fused_lm_head

from benchmarks.gpu.models import random_model
from tests.training import make_job
from workers.model.geometry import KNOWN, Geometry
from workers.train.adapter import with_adapter
from workers.train.memory import Run, layer_bytes, needed

pytestmark = pytest.mark.model

ROWS, ANSWER, PROMPT, FRAMES, RANK = 2, 100, 20, 2, 16
ERROR = 0.08
"""Of a step's peak; single layers are exact."""
CASES = [("vicuna-7b", 4), ("vicuna-7b", 2), ("qwen3-8b", 4)]
"""Model, and bytes of its numbers."""


def geometry_of(name: str, layers: int) -> Geometry:
    return replace(
        KNOWN[name],
        hidden=256,
        layers=layers,
        heads=4,
        kv_heads=2 if name == "qwen3-8b" else 4,
        head_size=64,
        intermediate=704,
        vocabulary=2048,
        vision_hidden=64,
        vision_layers=2,
        vision_layers_held=3,
        vision_intermediate=128,
        image_size=112,
    )


class Step:
    """One step of supervised training, as TRL computes it."""

    def __init__(self, name: str, layers: int, number_bytes: int, checkpointing: bool) -> None:
        self.geometry, self._bytes = geometry_of(name, layers), number_bytes
        dtype = torch.float32 if number_bytes == 4 else torch.bfloat16
        loaded = random_model(name, self.geometry, torch.device("cpu"), dtype)
        add_fused_lm_head(loaded.model)
        self.model = with_adapter(loaded, make_job(rank=RANK), None).train()
        if checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        visual = FRAMES * loaded.layout.tokens_per_frame
        length = visual + PROMPT + ANSWER
        ids = torch.randint(3, 400, (ROWS, length))
        ids[:, :visual] = loaded.layout.video_token_id
        labels = ids.masked_fill(torch.arange(length) < visual + PROMPT, -100)
        side = self.geometry.image_size
        mask = torch.ones_like(ids)
        mask[-1, -5:] = 0  # rows are of different lengths, as they are
        self._batch: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "pixel_values_videos": torch.zeros(1, FRAMES * ROWS, 3, side, side, dtype=dtype),
            "labels": labels,
        }
        self.length = length

    def loss(self) -> torch.Tensor:
        mixed = torch.autocast("cpu", torch.bfloat16) if self._bytes == 2 else nullcontext()
        with mixed:
            return self.model(**self._batch, fused_lm_head=True).loss

    def kept(self) -> int:
        """Bytes that autograd keeps of the whole step, without the weights."""
        weights = {one.untyped_storage().data_ptr() for one in self.model.parameters()}
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if (at := tensor.untyped_storage().data_ptr()) not in weights:
                kept[at] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.loss()
        return sum(one.untyped_storage().nbytes() for one in kept.values())

    def peak(self) -> int:
        return peak(lambda: self.loss().backward())


def peak(work: Callable[[], object]) -> int:
    """Bytes that torch has allocated at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        work()
    results: Any = seen.profiler
    events = [one for one in results.kineto_results.events() if one.name() == "[memory]"]
    now = most = 0
    for one in sorted(events, key=lambda one: one.start_ns()):
        now += one.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(("name", "number_bytes"), CASES)
def test_what_a_layer_keeps_is_what_autograd_keeps(name: str, number_bytes: int) -> None:
    one, two = (Step(name, layers, number_bytes, checkpointing=False) for layers in (1, 2))
    found = (two.kept() - one.kept()) / (ROWS * one.length)
    planned = layer_bytes(one.geometry, number_bytes, RANK, one.length)
    # Autocast keeps LoRA's matrices in 16 bits, once a step: that counts as what is trained.
    lora = two.geometry.adapter_bytes(RANK, 1) - one.geometry.adapter_bytes(RANK, 1)
    cast = 2 * lora / (ROWS * one.length) if number_bytes == 2 else 0
    assert found == pytest.approx(planned + cast, rel=0.001)


@pytest.mark.parametrize(
    ("name", "number_bytes", "checkpointing"),
    [("vicuna-7b", 4, False), ("vicuna-7b", 2, True), ("qwen3-8b", 4, True)],
)
def test_the_peak_of_a_step_is_the_planned_one(
    name: str, number_bytes: int, checkpointing: bool
) -> None:
    step = Step(name, 4, number_bytes, checkpointing)
    run = Run("sft", False, FRAMES, PROMPT, ANSWER, ROWS, 1, RANK, checkpointing)
    planned = needed(run, step.geometry, number_bytes, on_card=False).step
    assert planned == pytest.approx(step.peak(), rel=ERROR)


def test_one_of_several_processes_holds_its_gradients_once_more(tmp_path: Path) -> None:
    """As accelerate wraps a model, with what is trained alone counting."""
    model = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.Linear(1024, 512))
    model[1].requires_grad_(False)
    trained = sum(one.nbytes for one in model.parameters() if one.requires_grad)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )

    def step(module: Callable[[], torch.nn.Module]) -> int:
        model.zero_grad(set_to_none=True)
        held = []  # or its buckets go before the gradients come

        def work() -> None:
            held.append(module())
            held[0](torch.ones(1, 512)).sum().backward()

        return peak(work)

    try:
        alone = step(lambda: model)
        # The copy of the weights that is sent at the beginning gloo frees some time, in a thread.
        among = step(lambda: DistributedDataParallel(model, init_sync=False))
    finally:
        torch.distributed.destroy_process_group()
    assert among - alone == pytest.approx(trained, rel=0.02)
