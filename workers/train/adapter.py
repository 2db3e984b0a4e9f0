"""The one shape of an adapter: LoRA on the language model plus the whole projector.

Every stage trains this shape, so that each can go on from the one before. The vision tower is never
touched: its attention has layers of the same short names, hence the full pattern.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from shared.messages import TrainJob
from workers.model.loading import LoadedModel

LANGUAGE_MODEL_LINEARS = (
    r"model\.language_model\.layers\.\d+\."
    r"(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
)
PROJECTOR = "multi_modal_projector"

CONFIG_KEYS = frozenset(
    {
        "base_model_name_or_path",
        "bias",
        "init_lora_weights",
        "lora_alpha",
        "lora_dropout",
        "modules_to_save",
        "peft_type",
        "r",
        "revision",
        "target_modules",
        "task_type",
        "use_dora",
        "use_rslora",
    }
)
"""What a published adapter_config.json may say. Others of peft's keys can name code to import."""


def with_adapter(loaded: LoadedModel, job: TrainJob, parent: Path | None) -> Any:
    """The model with a trainable adapter: the parent's, or a fresh one that changes nothing yet.

    The rank of a continued adapter is its parent's, whatever the job says.
    """
    if loaded.device.type == "cpu":
        _keep_4bit_weights_unpacked(loaded.model)
    if parent is not None:
        return PeftModel.from_pretrained(loaded.model, parent, is_trainable=True)
    return get_peft_model(
        loaded.model,
        LoraConfig(
            r=job.rank,
            lora_alpha=2 * job.rank,
            # Resuming is exact only without dropout.
            lora_dropout=0.0,
            target_modules=LANGUAGE_MODEL_LINEARS,
            modules_to_save=[PROJECTOR],
            task_type="CAUSAL_LM",
        ),
    )


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
        directory / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config = {
        key: value
        for key, value in model.peft_config["default"].to_dict().items()
        if key in CONFIG_KEYS
    }
    # peft notes the directory that the model was loaded from.
    config.update(base_model_name_or_path=job.model, revision=job.revision)
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    (directory / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


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
