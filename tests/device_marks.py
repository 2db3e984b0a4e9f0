"""A device that is played on a CPU: what lies on it is marked, and what a real one would not do
fails.

Marked are tensors that were made with the device, or copied to it, and all that is computed of
them; the mark is of the memory, so views have it too. A marked and an unmarked tensor in one
operation raise `Mixed`, but for numbers without dimensions, which a GPU takes from the host.
`waits` are the places where the host would stand still until the device has done everything that it
was asked; `reads` those where it reads what it had asked for earlier.

The device is called "cpu:0", which torch takes for the CPU and does not equal "cpu". Meta tensors
and torch's fake ones see only some of the mixes, and no waiting.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves

DEVICE, HOST = torch.device("cpu", 0), torch.device("cpu")
WAITING = {
    *("item", "tolist", "numpy", "cpu", "nonzero", "argwhere", "masked_select", "is_nonzero"),
    *("unique", "unique_consecutive", "equal", "allclose", "bincount", "histc", "pin_memory"),
    *("__bool__", "__int__", "__float__", "__index__", "__complex__", "__array__"),
    *("__repr__", "__format__", "__contains__", "__reversed__"),
}
"""A GPU's answer to these is known on the host only when it has got there."""
MADE = {
    *("zeros", "ones", "empty", "full", "arange", "linspace", "eye", "rand", "randn", "randint"),
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_empty", "new_full", "empty_strided", "empty_permuted"),
}
"""Nothing is copied to make these."""


class Mixed(RuntimeError):
    """Expected all tensors to be on the same device."""


class Marks(TorchFunctionMode):
    """One for all threads; each enters it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.reads: list[str] = []
        self._there: dict[int, StorageWeakRef] = {}
        self._coming: dict[int, StorageWeakRef] = {}

    def put(self, model: torch.nn.Module) -> None:
        """A module and all that it holds, on the device."""
        for tensor in (*model.parameters(), *model.buffers()):
            self._mark(tensor)

    def is_there(self, tensor: torch.Tensor) -> bool:
        return _known(self._there, tensor)

    def _mark(self, tensor: torch.Tensor) -> torch.Tensor:
        _note(self._there, tensor)
        return tensor

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        of = getattr(func, "__self__", None)  # of a property
        if of is torch.Tensor.device and args[0].device.type == "cpu":
            return DEVICE if self.is_there(args[0]) else HOST
        if of is torch.Tensor.is_cuda:
            return self.is_there(args[0])
        name = (resolve_name(func) or getattr(func, "__name__", "")).rpartition(".")[2]
        if name == "to":
            return self._to(func, args, kwargs)
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        if any(_known(self._coming, one) for one in tensors):
            return self._read(name, func, args, kwargs)
        there = [one for one in tensors if self.is_there(one)]
        here = [one for one in tensors if one.dim() and one.device.type == "cpu"]
        here = [one for one in here if not self.is_there(one)]
        asked = kwargs.get("device")
        made_there = asked is not None and torch.device(asked) == DEVICE
        if there:
            self._look(name, args, kwargs, here)
        elif made_there and name not in MADE:
            self.waits.append(f"{name} of the host's numbers, at {_place()}")
        out = func(*args, **kwargs)
        if name in ("cpu", "numpy", "tolist", "item"):
            return out.clone() if isinstance(out, torch.Tensor) and there else out
        if there or made_there:
            for one in tree_leaves(out):
                if isinstance(one, torch.Tensor) and one.device.type == "cpu":
                    self._mark(one)
        return out

    def _look(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], here: list[torch.Tensor]
    ) -> None:
        """At an operation with something that lies there."""
        if name in WAITING or (name == "where" and len(args) + len(kwargs) == 1):
            self.waits.append(f"{name}, at {_place()}")
        if name == "repeat_interleave" and len(args) > 1 and isinstance(args[1], torch.Tensor):
            self.waits.append(f"repeats that the host does not know, at {_place()}")
        if name in ("__getitem__", "__setitem__"):
            for index in _indices(args[1]):
                if isinstance(index, list) or _is_mask(index):
                    self.waits.append(f"an index by a mask or a list, at {_place()}")
        copies = name == "copy_" or (name == "__setitem__" and not _tensors(args[1]))
        if copies and here:
            if not kwargs.get("non_blocking"):
                self.waits.append(f"a copy between host and device, at {_place()}")
        elif here:
            shapes = [tuple(one.shape) for one in here]
            raise Mixed(f"{name} of what lies there with {shapes} from here, at {_place()}")

    def _read(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        if name == "tolist":
            self.reads.append(_place())
        elif name != "is_pinned":
            raise Mixed(f"{name} of what has not arrived, at {_place()}")
        return func(*args, **kwargs)

    def _to(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        tensor, *others = args
        given = [kwargs.get("device"), *others]
        devices = [torch.device(one) for one in given if isinstance(one, (str, torch.device))]
        out, was_there = func(*args, **kwargs), self.is_there(tensor)
        if was_there and _place().startswith("transfer.py") and devices == [DEVICE]:
            raise Mixed(f"memory of the device cannot be locked, at {_place()}")
        if not devices or (devices[0] == DEVICE) == was_there:
            return self._mark(out) if was_there else out
        out = out.clone() if out is tensor else out
        waits = not kwargs.get("non_blocking")
        if was_there:
            if not waits:
                _note(self._coming, out)
        else:
            # From memory that is not locked, the driver may wait.
            waits = waits or not _place().startswith("transfer.py")
            self._mark(out)
        if waits:
            self.waits.append(f"a copy between host and device, at {_place()}")
        return out


def _note(storages: dict[int, StorageWeakRef], tensor: torch.Tensor) -> None:
    reference = StorageWeakRef(tensor.untyped_storage())
    storages[reference.cdata] = reference  # as long as it is here, no other gets this address


def _known(storages: dict[int, StorageWeakRef], tensor: torch.Tensor) -> bool:
    reference = storages.get(tensor.untyped_storage()._cdata)
    return reference is not None and not reference.expired()


def _indices(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def _tensors(index: Any) -> list[torch.Tensor]:
    return [one for one in _indices(index) if isinstance(one, torch.Tensor)]


def _place() -> str:
    """The line of ours that asks for it."""
    return next(_frames())


def _frames() -> Iterator[str]:
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if "site-packages" not in file and file != __file__:
            yield f"{file.rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    yield "?"
