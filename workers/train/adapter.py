"""The one shape of an adapter: LoRA on the language model plus the whole projector.

Every stage trains this shape, so that each can go on from the one before. The vision tower is never
touched. What of it is published, and what is read again, is in workers/model/adapter_files.py.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file

from shared.training import TrainJob
from workers.model.adapter_files import (
    CONFIG_FILE,
    CONFIG_KEYS,
    LANGUAGE_MODEL_LINEARS,
    WEIGHTS_FILE,
    Adapter,
    lora_config,
)
from workers.model.loading import LoadedModel


def with_adapter(loaded: LoadedModel, job: TrainJob, parent: Adapter | None) -> Any:
    """The model with a trainable adapter: the parent's, or a fresh one that changes nothing yet.

    The rank of a continued adapter is its parent's, whatever the job says. The stage align trains
    the projector alone: the LoRA matrices are there and stay as they are, so that its adapter has
    the shape of every other one.
    """
    if loaded.device.type == "cpu":
        _keep_4bit_weights_unpacked(loaded.model)
    model = get_peft_model(loaded.model, lora_config(parent.rank if parent else job.rank))
    if parent is not None:
        set_peft_model_state_dict(model, parent.tensors)
    if job.stage == "align":
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.requires_grad = False
    return model


@contextmanager
def trainable_kept_in_fp32(model: Any) -> Iterator[None]:
    """Around the building of a trainer: what it trains comes out in fp32, to the last bit.

    TRL rounds the trainable parameters of a 4-bit model to bf16. At usual learning rates most
    steps are then smaller than a bf16 step and vanish.
    """
    exact = {
        name: parameter.detach().float().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    yield
    for name, parameter in model.named_parameters():
        if name in exact:
            parameter.data = exact[name]


def save_adapter(model: Any, job: TrainJob, directory: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json, and nothing else."""
    directory.mkdir(parents=True)
    # Asked about embeddings, peft would look the base model up on the hub; none are trained.
    state = get_peft_model_state_dict(model, adapter_name="default", save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()},
        directory / WEIGHTS_FILE,
        metadata={"format": "pt"},
    )
    config = {
        key: value
        for key, value in model.peft_config["default"].to_dict().items()
        if key in CONFIG_KEYS
    }
    # peft notes the directory that the model was loaded from.
    config.update(base_model_name_or_path=job.model, revision=job.revision)
    # And it may write a pattern as the list of what it matched.
    config["target_modules"] = LANGUAGE_MODEL_LINEARS
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    (directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    return value.value  # peft's enumerations


def _keep_4bit_weights_unpacked(model: Any) -> None:
    """On CPUs with AVX512-BF16, bitsandbytes repacks 4-bit weights at the first evaluation, and
    training steps after it take a kernel outside autograd: the loss looks right and the gradients
    are wrong (bitsandbytes 0.50, nn/modules.py, Linear4bit.forward)."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
