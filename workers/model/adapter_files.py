"""An adapter's two files, read as data: nothing else of them ever reaches peft.

peft takes a configuration at its word. Names of modules are regular expressions there, several keys
change the base model for as long as the process lives, others name code to import; and of the
tensors it takes those that are there, for the base model too. So a configuration is compared with
the one that training publishes, value by value, and its tensors with the base model's, by name,
shape and type. peft gets a configuration of our own.

Knows nothing of S3, of versions in use and of training.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from shared.errors import BadAdapter

LANGUAGE_MODEL_LINEARS = (
    r"model\.language_model\.layers\.\d+\."
    r"(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
)
"""What every adapter adapts. The vision tower has layers of the same short names."""
PROJECTOR = "multi_modal_projector"
"""What every adapter replaces as a whole."""

PUBLISHED: dict[str, Any] = {
    "bias": "none",
    "init_lora_weights": True,
    "lora_dropout": 0.0,
    "peft_type": "LORA",
    "target_modules": LANGUAGE_MODEL_LINEARS,
    "task_type": "CAUSAL_LM",
    "use_dora": False,
    "use_rslora": False,
}
"""The same in every adapter_config.json that training writes."""
RANK, ALPHA, SAVED = "r", "lora_alpha", "modules_to_save"
NOTES = frozenset({"base_model_name_or_path", "revision"})
"""For people; nothing follows from them."""
CONFIG_KEYS = frozenset({*PUBLISHED, RANK, ALPHA, SAVED, *NOTES})
"""What a published adapter_config.json says; no other key is written or taken."""
ALPHA_PER_RANK = 2
PEFTS_OWN = {"classifier", "score"}
"""peft adds them to `modules_to_save` of a language model, each time; we have no such modules."""

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 64 << 10
MAX_HEADER_BYTES = 4 << 20
"""Of the safetensors file: 452 tensors, as a 7B model has them, are 70 kB."""
TYPES = frozenset({"F32", "BF16", "F16"})

_KEY_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterShape:
    """What an adapter of a base model must have: taken while nothing has changed the model yet."""

    linears: dict[str, tuple[int, int]]
    """Name -> (into, out)."""
    projector: dict[str, tuple[int, ...]]
    """Name of a parameter -> shape."""
    dtype: torch.dtype
    """In which the base model computes: a weight must be finite in it, too."""

    @classmethod
    def of(cls, base: Any) -> "AdapterShape":
        linears = {
            name: (module.in_features, module.out_features)
            for name, module in base.named_modules()
            if isinstance(module, torch.nn.Linear) and re.fullmatch(LANGUAGE_MODEL_LINEARS, name)
        }
        projector = {
            name: tuple(parameter.shape)
            for name, parameter in base.named_parameters()
            if name.startswith(f"model.{PROJECTOR}.")
        }
        return cls(linears, projector, base.dtype)

    def tensors(self, rank: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape, of all that such an adapter has."""
        halves = {
            f"{name}.{half}.weight": shape
            for name, (into, out) in self.linears.items()
            for half, shape in (("lora_A", (rank, into)), ("lora_B", (out, rank)))
        }
        return {
            f"{_KEY_PREFIX}{name}": shape for name, shape in {**halves, **self.projector}.items()
        }


@dataclass(frozen=True)
class Adapter:
    """Checked, and in memory."""

    rank: int
    tensors: dict[str, torch.Tensor]


def read_adapter(version: str, directory: Path, shape: AdapterShape) -> Adapter:
    """Raises BadAdapter: it does not fit this base model, completely and with sane numbers.
    OSError: its files cannot be read here, and nothing is known of what they say."""
    try:
        rank = _rank(version, directory / CONFIG_FILE)
        tensors = _tensors(version, directory / WEIGHTS_FILE, shape.tensors(rank), shape.dtype)
    except (ValueError, RecursionError, SafetensorError) as error:
        raise BadAdapter(f"adapter {version} cannot be read: {error}") from error
    return Adapter(rank, tensors)


def lora_config(rank: int) -> Any:
    """What peft is told of any adapter, be it fresh or read."""
    from peft import LoraConfig  # takes a second: whoever has no adapter does without

    return LoraConfig(
        r=rank,
        lora_alpha=ALPHA_PER_RANK * rank,
        lora_dropout=0.0,  # resuming is exact only without dropout
        target_modules=LANGUAGE_MODEL_LINEARS,
        modules_to_save=[PROJECTOR],
        task_type="CAUSAL_LM",
    )


def _rank(version: str, path: Path) -> int:
    """Of a configuration that is one of ours."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise BadAdapter(f"adapter {version}: {path.name} has more than {MAX_CONFIG_BYTES} bytes")
    config = json.loads(path.read_bytes())
    if not isinstance(config, dict) or config.keys() != CONFIG_KEYS:
        found = sorted(config.keys() ^ CONFIG_KEYS) if isinstance(config, dict) else []
        raise BadAdapter(
            f"adapter {version}: its configuration has other keys than training publishes: "
            f"{', '.join(map(_short, found[:4]))}"
        )
    rank, saved = config[RANK], config[SAVED]
    if type(rank) is not int or rank < 1:
        raise BadAdapter(f"adapter {version}: its rank is {_short(rank)}")
    wrong = [name for name, value in PUBLISHED.items() if not _same(config[name], value)]
    if not _same(config[ALPHA], ALPHA_PER_RANK * rank):
        wrong.append(ALPHA)
    if not isinstance(saved, list) or _names(saved) - PEFTS_OWN != {PROJECTOR}:
        wrong.append(SAVED)
    if wrong:
        raise BadAdapter(
            f"adapter {version}: {wrong[0]} of its configuration is {_short(config[wrong[0]])}, "
            "which training does not publish",
            keys=wrong,
        )
    return rank


def _same(found: Any, published: Any) -> bool:
    """`True == 1` in Python, and not in JSON."""
    return type(found) is type(published) and bool(found == published)


def _names(saved: list[Any]) -> set[str]:
    return {one if isinstance(one, str) else "" for one in saved}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _tensors(
    version: str, path: Path, wanted: dict[str, tuple[int, ...]], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise BadAdapter(f"adapter {version}: the header of its tensors has {header_bytes} bytes")
    # Names, shapes and types are in the header: they are compared before any number is read.
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        if names != wanted.keys():
            missing, extra = sorted(wanted.keys() - names), sorted(names - wanted.keys())
            raise BadAdapter(
                f"adapter {version}: {len(missing)} of the tensors that this base model needs are "
                f"missing, {len(extra)} others are there",
                missing=missing[:4],
                extra=extra[:4],
            )
        for name, shape in wanted.items():
            header = file.get_slice(name)
            if tuple(header.get_shape()) != shape or header.get_dtype() not in TYPES:
                raise BadAdapter(
                    f"adapter {version}: {name} is {header.get_dtype()} {header.get_shape()}, "
                    f"and not {list(shape)} as this base model needs it"
                )
        tensors = {name: file.get_tensor(name) for name in wanted}
    for name, tensor in tensors.items():
        # The engine folds the scale into this half.
        used = tensor.float() * ALPHA_PER_RANK if ".lora_B." in name else tensor
        if not torch.isfinite(used.to(dtype)).all():
            raise BadAdapter(f"adapter {version}: {name} holds NaN or infinity", tensor=name)
    return tensors
