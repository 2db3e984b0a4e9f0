"""What adapters add, in both forms."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from workers.caption.engine.deltas import Delta, JoinedDelta, PackedDelta, Whose
from workers.model.adapter_files import ALPHA_PER_RANK, Adapter

pytestmark = pytest.mark.model

INTO, OUTS, NAMES = 24, [40, 16], ["layers.0.q", "layers.0.k"]


def made(form: str, slots: int) -> Delta:
    if form == "packed":
        return PackedDelta(NAMES, OUTS, slots)
    return JoinedDelta(NAMES, INTO, OUTS, slots, torch.float32, torch.device("cpu"))


def adapter(rank: int) -> Adapter:
    shapes = {"lora_A": lambda out: (rank, INTO), "lora_B": lambda out: (out, rank)}
    return Adapter(
        rank,
        {
            f"base_model.model.{name}.{half}.weight": torch.randn(shape(out))
            for name, out in zip(NAMES, OUTS, strict=True)
            for half, shape in shapes.items()
        },
    )


def added(delta: Delta, x: torch.Tensor, numbers: Sequence[int], slots: int) -> torch.Tensor:
    y = torch.zeros(len(x), sum(OUTS))
    delta.add(y, x, Whose(torch.tensor(numbers), slots))
    return y


def product(one: Adapter, x: torch.Tensor) -> torch.Tensor:
    parts: list[Any] = []
    for name in NAMES:
        a, b = (
            one.tensors[f"base_model.model.{name}.{half}.weight"] for half in ("lora_A", "lora_B")
        )
        parts.append(ALPHA_PER_RANK * (x @ a.T) @ b.T)
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("form", ["packed", "joined"])
def test_each_token_gets_what_its_own_adapter_adds(form: str) -> None:
    """Of several ranks, each put where another one was, a higher one later."""
    torch.manual_seed(0)
    x, delta = torch.randn(7, INTO), made(form, 3)
    numbers = [2, 0, 1, 2, 0, 3, 1]
    for ranks, grows in (((4, 4, 2), True), ((2, 8, 4), True), ((4, 1, 8), False)):
        adapters = [adapter(rank) for rank in ranks]
        if grows:
            delta.move(delta.room(max(ranks)))
        for slot, one in enumerate(adapters, start=1):
            delta.put(slot, delta.ready(one))
        for who in (numbers, [2] * 7, [0, 0, 0, 1, 0, 0, 0]):
            found = added(delta, x, who, 3)
            for token, slot in enumerate(who):
                wanted = product(adapters[slot - 1], x[token][None])[0] if slot else torch.zeros(56)
                assert torch.allclose(found[token], wanted, atol=1e-4)


def test_what_is_packed_changes_no_bit_in_company() -> None:
    torch.manual_seed(1)
    delta = made("packed", 2)
    for slot, rank in ((1, 3), (2, 16)):
        delta.put(slot, delta.ready(adapter(rank)))
    for count in (2, 3, 8, 17, 64, 200):
        x = torch.randn(count, INTO)
        numbers = [1 + number % 2 for number in range(count)]
        together = added(delta, x, numbers, 2)
        for token in {0, 1, count // 2, count - 1}:
            alone = added(delta, x[token][None], [numbers[token]], 2)
            assert torch.equal(together[token], alone[0])
