"""Adapters in memory: checked on the CPU first, then loaded under a new name, then switched to.

What an adapter must be like is in workers/model/adapter_files.py. Knows nothing of S3 or of
pointers.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from workers.model.adapter_files import Adapter, AdapterShape, lora_config, read_adapter


class ModelWithAdapters:
    """A base model and at most one adapter on top. Not thread-safe: its owner holds a lock."""

    def __init__(self, base: Any) -> None:
        self._base = base
        # Of the untouched base: peft wraps its modules in place.
        self._shape = AdapterShape.of(base)
        self._peft: Any = None
        self._active: str | None = None
        """The version in use; None = the base."""

    @property
    def model(self) -> Any:
        """What to call generate() on, inside `running()`."""
        return self._peft or self._base

    def running(self) -> AbstractContextManager[Any]:
        if self._peft is not None and self._active is None:
            context: AbstractContextManager[Any] = self._peft.disable_adapter()
            return context
        return nullcontext()

    def check(self, version: str, directory: Path) -> Adapter:
        """Would this adapter fit this base, completely and with sane numbers?

        Raises:
            BadAdapter: naming what is wrong.
        """
        adapter = read_adapter(version, directory, self._shape)
        # Before `use`, for which the captions wait, and not at the start: it takes more than a
        # second, and without an adapter nothing of it is needed.
        import peft  # noqa: F401

        return adapter

    def use(self, version: str | None, adapter: Adapter | None) -> None:
        """Switch to a checked adapter, or to the base. The one before is freed.

        A failed load leaves what was in use.
        """
        if version == self._active:
            return
        if version is not None and adapter is not None:
            try:
                self._load(version, adapter)
            except Exception:
                self._drop(version)
                raise
        old, self._active = self._active, version
        if old is not None and version is not None:
            self._drop(old)

    def _load(self, version: str, adapter: Adapter) -> None:
        from peft import get_peft_model, set_peft_model_state_dict  # `check` has imported it

        config = lora_config(adapter.rank)
        config.inference_mode = True
        if self._peft is None:
            self._peft = get_peft_model(self._base, config, version, autocast_adapter_dtype=False)
        elif version not in self._peft.peft_config:
            self._peft.add_adapter(version, config, autocast_adapter_dtype=False)
        # Again if it is there already: a load before this one may have failed half-way.
        set_peft_model_state_dict(self._peft, adapter.tensors, adapter_name=version)
        self._peft.set_adapter(version, inference_mode=True)
        for other in [name for name in self._peft.peft_config if name != version]:
            if other != self._active:
                self._drop(other)
        self._peft.eval()

    def _drop(self, version: str) -> None:
        # peft cannot be without any adapter: the last one stays, switched off.
        if self._peft is not None and len(self._peft.peft_config) > 1:
            self._peft.delete_adapter(version)
