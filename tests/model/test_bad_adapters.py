"""Adapters that are not what training publishes: refused before anything is asked of peft, and
before anything changes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.cards import CLASSES
from shared.errors import BadAdapter
from shared.messages import AdapterUsed, Decoding
from shared.prompts import BASE_PROMPT
from tests.adapters import make_adapter
from workers.caption.captioner import EngineCaptioner
from workers.model.loading import load_model
from workers.progress import Progress

pytestmark = pytest.mark.model

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
SHORT = Decoding(max_new_tokens=12)
PREFIX = "base_model.model.model."


@pytest.fixture(scope="module")
def captioner(checkpoint: Path) -> EngineCaptioner:
    return EngineCaptioner(load_model(checkpoint, model_id="tests/tiny"), CLASSES["cpu"])


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(checkpoint, tmp_path_factory.mktemp("adapter"), seed=1)


@pytest.fixture
def bad(adapter: Path, tmp_path: Path) -> Path:
    """To be spoilt."""
    return Path(shutil.copytree(adapter, tmp_path / "bad"))


@pytest.fixture(scope="module")
def good(captioner: EngineCaptioner, adapter: Path) -> tuple[str, str]:
    """What the base model says, and what a good adapter, which is in use from here on."""
    base = answer(captioner)
    used = AdapterUsed(version="good", generation=1)
    captioner.use_adapter(used, captioner.check_adapter("good", adapter))
    return base, answer(captioner)


def answer(captioner: EngineCaptioner) -> str:
    film = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3), dtype=np.uint8)
    return captioner.caption(film, BASE_PROMPT, SHORT, Progress()).text


@pytest.fixture
def no_trace(
    captioner: EngineCaptioner,
    good: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Path, str], None]:
    """It is refused, peft is not asked, and what is said stays as it was."""
    monkeypatch.setattr("peft.LoraConfig.__init__", never)

    def refused(folder: Path, why: str, error: type[Exception] = BadAdapter) -> None:
        with pytest.raises(error, match=why):
            captioner.check_adapter("bad", folder)
        base, own = good
        assert answer(captioner) == own
        captioner.use_adapter(None, None)
        assert answer(captioner) == base
        captioner.use_adapter(AdapterUsed(version="good", generation=1), None)

    return refused


def never(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("peft has been asked")


# --- tensors -------------------------------------------------------------------------------------


def with_nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def without_a_half(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if "lora_B" in name)]


def without_a_layer(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if ".layers.1." in name]:
        del tensors[name]


def without_half_the_projector(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if "linear_1.bias" in name)]


def of_another_width(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = torch.zeros(8, 96)


def of_another_type(tensors: dict[str, torch.Tensor]) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name].to(torch.int8)


def with_vision(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.vision_tower.head.weight"] = torch.zeros(2, 2)


def with_a_tensor_of_the_base(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.lm_head.weight"] = torch.zeros(2, 2)


def with_infinity(tensors: dict[str, torch.Tensor]) -> None:
    list(tensors.values())[-1].view(-1)[-1] = float("inf")


def infinite_with_its_scale(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = 3e38


def without_the_projector(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "multi_modal_projector" in name]:
        del tensors[name]


def without_any_way_up(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "lora_B" in name]:
        del tensors[name]


def of_a_wider_base(tensors: dict[str, torch.Tensor]) -> None:
    """As one trained on a model of twice the width."""
    for name in [name for name in tensors if "lora_A" in name]:
        tensors[name] = torch.cat([tensors[name], tensors[name]], dim=1)


def with_the_last_of_another_shape(tensors: dict[str, torch.Tensor]) -> None:
    name = sorted(tensors)[-1]
    tensors[name] = torch.zeros(3, 3)


def with_magnitudes(tensors: dict[str, torch.Tensor]) -> None:
    """As DoRA has them."""
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name.replace("lora_A.weight", "lora_magnitude_vector")] = torch.ones(64)


def on_the_vision_tower(tensors: dict[str, torch.Tensor]) -> None:
    at = f"{PREFIX}vision_tower.encoder.layers.0.self_attn.q_proj"
    tensors[f"{at}.lora_A.weight"], tensors[f"{at}.lora_B.weight"] = torch.ones(2, 8, 64)


def with_embeddings(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{PREFIX}language_model.embed_tokens.weight"] = torch.zeros(8, 64)


def with_embeddings_of_its_own(tensors: dict[str, torch.Tensor]) -> None:
    tensors[f"{PREFIX}language_model.embed_tokens.lora_embedding_A"] = torch.zeros(8, 64)


def with_a_base_weight_of_an_adapted_layer(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name.replace("lora_A.weight", "base_layer.weight")] = torch.zeros(64, 64)


SPOILT: dict[Callable[[dict[str, torch.Tensor]], None], str] = {
    with_nan: "holds NaN or infinity",
    with_infinity: "holds NaN or infinity",
    infinite_with_its_scale: "holds NaN or infinity",
    without_a_half: "1 of the tensors .* missing",
    without_any_way_up: "14 of the tensors .* missing",
    without_a_layer: "14 of the tensors .* missing",
    without_half_the_projector: "1 of the tensors .* missing",
    without_the_projector: "4 of the tensors .* missing",
    of_another_width: "as this base model needs it",
    of_a_wider_base: "as this base model needs it",
    with_the_last_of_another_shape: "as this base model needs it",
    of_another_type: "as this base model needs it",
    with_vision: "1 others are there",
    on_the_vision_tower: "2 others are there",
    with_a_tensor_of_the_base: "1 others are there",
    with_embeddings: "1 others are there",
    with_embeddings_of_its_own: "1 others are there",
    with_a_base_weight_of_an_adapted_layer: "1 others are there",
    with_magnitudes: "1 others are there",
}


@pytest.mark.parametrize(("spoil", "why"), SPOILT.items())
def test_spoilt_weights_are_refused_before_anything_changes(
    spoil: Callable[[dict[str, torch.Tensor]], None],
    why: str,
    bad: Path,
    no_trace: Callable[[Path, str], None],
) -> None:
    tensors = load_file(bad / WEIGHTS)
    spoil(tensors)
    save_file(tensors, bad / WEIGHTS)
    no_trace(bad, why)


def test_a_truncated_file_is_refused(bad: Path, no_trace: Callable[[Path, str], None]) -> None:
    whole = (bad / WEIGHTS).read_bytes()
    for length in (len(whole) - 100, 100, 4, 0):
        (bad / WEIGHTS).write_bytes(whole[:length])
        no_trace(bad, "cannot be read")


@pytest.mark.parametrize("absent", [WEIGHTS, CONFIG, "."])
def test_of_files_that_are_not_there_the_adapter_is_not_to_blame(
    absent: str, bad: Path, no_trace: Callable[..., None]
) -> None:
    """They were fetched; so it is this machine that lost them, or cannot read them."""
    folder = bad / "nowhere" if absent == "." else without(bad, absent)
    no_trace(folder, "No such file", FileNotFoundError)


def without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


def test_a_header_of_any_length_is_not_read(
    bad: Path, no_trace: Callable[[Path, str], None]
) -> None:
    weights = (bad / WEIGHTS).read_bytes()
    header = int.from_bytes(weights[:8], "little")
    padded = weights[8 : 8 + header] + b" " * (5 << 20)
    (bad / WEIGHTS).write_bytes(len(padded).to_bytes(8, "little") + padded + weights[8 + header :])
    no_trace(bad, "header")


# --- configurations ------------------------------------------------------------------------------

SAVED = "modules_to_save"


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"peft_type": "IA3"},
        {"bias": "all"},
        # names of modules are patterns to peft: they are compared, and never run
        {"target_modules": r"model\.language_model\..*"},
        {"target_modules": ["q_proj", "v_proj"]},
        {SAVED: ["multi_modal_projector.*"]},
        # the projector would be written into the base model
        {SAVED: None},
        {SAVED: ["multi_modal_projector", "lm_head"]},
        # they rewrite the base model
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "loftq"},
        {"init_lora_weights": 1},
        {"use_rslora": True},
        {"lora_alpha": 1e30},
        {"lora_alpha": 8},
        {"lora_alpha": float("nan")},
        {"r": 10**9, "lora_alpha": 2 * 10**9},
        {"r": True, "lora_alpha": 2},
        # keys that training does not publish, whatever they say
        {"layers_pattern": None},
        {"exclude_modules": None},
        {"layer_replication": [[0, 2], [1, 2]]},
        {"modules_to_save_again": ["lm_head"]},
        {"rank_pattern": {}},
        {"alpha_pattern": {}},
        {"trainable_token_indices": None},
        {"auto_mapping": None},
    ],
    ids=str,
)
def test_only_a_configuration_that_training_publishes_is_taken(
    change: dict[str, object], bad: Path, no_trace: Callable[[Path, str], None]
) -> None:
    config = json.loads((bad / CONFIG).read_text())
    (bad / CONFIG).write_text(json.dumps(config | change))
    no_trace(bad, "training (does not publish|publishes)|its rank is|as this base model needs it")


@pytest.mark.parametrize("rank", [0, True])
def test_a_rank_is_a_number_from_one(
    rank: int, bad: Path, no_trace: Callable[[Path, str], None]
) -> None:
    """With tensors that fit what it says."""
    config = json.loads((bad / CONFIG).read_text())
    (bad / CONFIG).write_text(json.dumps(config | {"r": rank, "lora_alpha": 2 * rank}))
    tensors = load_file(bad / WEIGHTS)
    for name, tensor in tensors.items():
        if "lora_A" in name:
            tensors[name] = tensor[:rank].clone()
        elif "lora_B" in name:
            tensors[name] = tensor[:, :rank].clone()
    save_file(tensors, bad / WEIGHTS)
    no_trace(bad, "its rank is")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", "[" * 20_000])
def test_what_is_no_configuration_is_refused(
    text: str, bad: Path, no_trace: Callable[[Path, str], None]
) -> None:
    (bad / CONFIG).write_text(text)
    no_trace(bad, "cannot be read|other keys")


def test_a_configuration_of_any_length_is_not_read(
    bad: Path, no_trace: Callable[[Path, str], None]
) -> None:
    with (bad / CONFIG).open("a") as file:
        file.write(" " * (64 << 10))
    no_trace(bad, "more than 65536 bytes")
