"""CUDA graphs, played on a CPU: what is caught is a list of operations, done again with the same
tensors.

As with real ones a replay reads what stands at the addresses of then, whatever Python has in its
hands by now; and what needs the host cannot be caught.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOSTS = ("aten::lift_fresh", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
"""Numbers of Python's become a tensor, or the other way round."""


class Caught(TorchDispatchMode):
    """In the place of a torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        super().__init__()
        self.replays = 0
        self._done: list[tuple[Any, Any, dict[str, Any], list[torch.Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.name() in HOSTS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func.name()}")
        out = func(*args, **kwargs)
        given = {one.untyped_storage()._cdata for one in _tensors((args, kwargs))}
        new = [one for one in _tensors(out) if one.untyped_storage()._cdata not in given]
        self._done.append((func, args, kwargs, new))
        return out

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, new in self._done:
            again = func(*args, **kwargs)
            if new:
                for old, value in zip(new, _tensors(again), strict=True):
                    old.copy_(value)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, torch.Tensor)]


class _Stream:
    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, other: "_Stream") -> None:
        pass


@contextmanager
def _graph(caught: Caught, **options: Any) -> Iterator[None]:
    assert options["capture_error_mode"] == "thread_local"
    with caught:
        yield


def play_graphs(patch: pytest.MonkeyPatch) -> None:
    """In the place of what torch.cuda has for it."""
    for name, played in {
        "Stream": _Stream,
        "current_stream": _Stream,
        "stream": lambda stream: nullcontext(),
        "graph_pool_handle": lambda: (0, 0),
        "CUDAGraph": Caught,
        "graph": _graph,
    }.items():
        patch.setattr(torch.cuda, name, played)
