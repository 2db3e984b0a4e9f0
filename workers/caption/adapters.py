"""Adapters in memory: validated on the CPU first, then loaded under a new name, then switched to.

peft alone accepts weights with NaN, with half of the tensors missing and from another base; so
nothing reaches it that has not been checked here. Knows nothing of S3 or of pointers.
"""

import json
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from shared.errors import BadAdapter

PROJECTOR = "model.multi_modal_projector."
LANGUAGE_MODEL = "model.language_model."
_KEY_PREFIX = "base_model.model."


class ModelWithAdapters:
    """A base model and at most one adapter on top. Not thread-safe: its owner holds a lock."""

    def __init__(self, base: Any) -> None:
        self._base = base
        # Names and shapes of the untouched base: peft wraps its modules in place.
        self._linears = {
            name: (module.in_features, module.out_features)
            for name, module in base.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        self._projector = {
            name: tuple(parameter.shape)
            for name, parameter in base.named_parameters()
            if name.startswith(PROJECTOR)
        }
        self._peft: Any = None
        self._active: str | None = None

    @property
    def active(self) -> str | None:
        """The version in use; None = the base."""
        return self._active

    @property
    def model(self) -> Any:
        """What to call generate() on, inside `running()`."""
        return self._peft or self._base

    def running(self) -> AbstractContextManager[Any]:
        if self._peft is not None and self._active is None:
            context: AbstractContextManager[Any] = self._peft.disable_adapter()
            return context
        return nullcontext()

    def validate(self, version: str, directory: Path) -> None:
        """Would this adapter fit this base, completely and with sane numbers?

        Raises:
            BadAdapter: naming what is wrong.
        """
        try:
            config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
            tensors = load_file(directory / "adapter_model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise BadAdapter(f"adapter {version} cannot be read: {error}") from error
        if config.get("peft_type") != "LORA" or config.get("use_dora"):
            raise BadAdapter(f"adapter {version} is not plain LoRA", config=config)
        if config.get("bias", "none") != "none":
            raise BadAdapter(f"adapter {version} trains biases", bias=config["bias"])
        halves: dict[str, dict[str, torch.Tensor]] = {}
        projector: dict[str, tuple[int, ...]] = {}
        for key, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise BadAdapter(f"adapter {version}: {key} holds NaN or infinity", tensor=key)
            name = key.removeprefix(_KEY_PREFIX)
            module, _, half = name.removesuffix(".weight").rpartition(".")
            if half in ("lora_A", "lora_B"):
                halves.setdefault(module, {})[half] = tensor
            else:
                projector[name] = tuple(tensor.shape)
        self._check_lora(version, config, halves)
        if projector and projector != self._projector:
            raise BadAdapter(
                f"adapter {version}: its other tensors are not this base's projector",
                found=sorted(projector)[:4],
            )
        # Before `use`, for which the captions wait, and not at the start: it takes more than a
        # second, and without an adapter nothing of it is needed.
        import peft  # noqa: F401

    def _check_lora(
        self, version: str, config: dict[str, Any], halves: dict[str, dict[str, torch.Tensor]]
    ) -> None:
        wanted = config.get("target_modules") or []
        if isinstance(wanted, str):
            targets = {name for name in self._linears if re.fullmatch(wanted, name)}
        else:
            targets = {name for name in self._linears if name.split(".")[-1] in wanted}
        if not targets or targets != set(halves):
            missing, extra = sorted(targets - set(halves)), sorted(set(halves) - targets)
            raise BadAdapter(
                f"adapter {version}: {len(missing)} target modules without tensors, "
                f"{len(extra)} tensors without target",
                missing=missing[:4],
                extra=extra[:4],
            )
        outside = sorted(name for name in targets if not name.startswith(LANGUAGE_MODEL))
        if outside:
            raise BadAdapter(f"adapter {version} reaches outside the language model: {outside[:4]}")
        rank = config.get("r")
        for name, pair in halves.items():
            into, out = self._linears[name]
            shapes = {half: tuple(tensor.shape) for half, tensor in pair.items()}
            if shapes != {"lora_A": (rank, into), "lora_B": (out, rank)}:
                raise BadAdapter(
                    f"adapter {version}: {name} has shapes {shapes}, not rank {rank} over "
                    f"{into} -> {out}"
                )

    def use(self, version: str | None, directory: Path | None) -> None:
        """Switch to a validated adapter, or to the base. The one before is freed.

        A failed load leaves what was in use.
        """
        if version == self._active:
            return
        if version is not None:
            try:
                self._load(version, directory)
            except Exception:
                self._drop(version)
                raise
        old, self._active = self._active, version
        if old is not None and version is not None:
            self._drop(old)

    def _load(self, version: str, directory: Path | None) -> None:
        from peft import PeftModel  # `validate` has imported it

        if self._peft is None:
            self._peft = PeftModel.from_pretrained(
                self._base, directory, adapter_name=version, autocast_adapter_dtype=False
            )
        elif version not in self._peft.peft_config:
            self._peft.load_adapter(
                directory, adapter_name=version, is_trainable=False, autocast_adapter_dtype=False
            )
        self._peft.set_adapter(version, inference_mode=True)
        for other in [name for name in self._peft.peft_config if name != version]:
            if other != self._active:
                self._drop(other)
        self._peft.eval()

    def _drop(self, version: str) -> None:
        # peft cannot be without any adapter: the last one stays, switched off.
        if self._peft is not None and len(self._peft.peft_config) > 1:
            self._peft.delete_adapter(version)
