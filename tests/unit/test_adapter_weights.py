"""How far two adapters lie apart, beside the library that writes such files."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from producer.bucket.adapter_weights import changes, tensors
from shared.errors import BadAdapter

LAYER = "base_model.model.model.language_model.layers.{}.self_attn.q_proj.lora_{}.weight"
PROJECTOR = "base_model.model.model.multi_modal_projector.linear_1.{}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_changes_are_those_of_the_numbers(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    names = {
        **{LAYER.format(at, half): (4, 6) for at in range(2) for half in "AB"},
        PROJECTOR.format("weight"): (5, 3),
        PROJECTOR.format("bias"): (5,),
    }
    first = {name: torch.randn(shape).to(dtype) for name, shape in names.items()}
    second = {name: (one + 0.1 * torch.randn(one.shape)).to(dtype) for name, one in first.items()}
    second[LAYER.format(1, "B")] = torch.zeros(4, 7, dtype=dtype)
    del second[PROJECTOR.format("bias")]
    save_file(first, tmp_path / "a")
    save_file(second, tmp_path / "b")
    projector, attention = changes(tmp_path / "a", tmp_path / "b")
    assert (projector.part, projector.parameters, projector.unlike) == ("linear_1", 15, 1)
    assert (attention.part, attention.parameters, attention.unlike) == ("q_proj", 72, 1)
    same = [name for name in names if "q_proj" in name and name != LAYER.format(1, "B")]
    apart = [(second[name].double() - first[name].double()).norm() for name in same]
    length = [first[name].double().norm() for name in same]
    expected = float(torch.stack(apart).norm() / torch.stack(length).norm())
    assert attention.change == pytest.approx(expected, rel=1e-6)
    assert {one.change for one in changes(tmp_path / "a", tmp_path / "a")} == {0.0}


def test_a_length_of_nothing_has_no_change(tmp_path: Path) -> None:
    save_file({"x.q_proj.lora_B.weight": torch.zeros(2, 2)}, tmp_path / "a")
    (one,) = changes(tmp_path / "a", tmp_path / "a")
    assert one.change is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"weights",
        struct.pack("<Q", 1 << 40),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        *(
            struct.pack("<Q", len(head)) + head + bytes(8)
            for head in (
                json.dumps({"a": {"dtype": kind, "shape": shape, "data_offsets": at}}).encode()
                for kind, shape, at in (
                    ("F32", [3], [0, 12]),
                    ("F32", [2], [8, 0]),
                    ("F32", [-2], [0, 8]),
                    ("F32", [1], [0, 8]),
                    ("I64", [1], [0, 8]),
                )
            )
        ),
    ],
)
def test_what_is_no_such_file_is_refused(body: bytes) -> None:
    with pytest.raises(BadAdapter, match="no safetensors file"):
        tensors(body)
