"""Read first by each interpreter of vLLM's environment: what pip puts there does not fit together.

PyPI has torchvision and torchaudio for GPUs only, and vLLM brings a torch for CPUs. The compiled
halves of the two do not load then. Nothing that we do needs them, so torchaudio and torchcodec are
hidden, and the operators that torchvision insists on when it is imported are declared, without any
code behind them.
"""

import sys
from collections.abc import Sequence
from typing import Any

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class Declaring:
    """Finds no module; it is asked when torchvision is half imported."""

    declared: Any = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        if name != "torchvision._meta_registrations" or self.declared:
            return
        import torch

        if not hasattr(torch.ops.torchvision, "nms"):
            self.declared = torch.library.Library("torchvision", "FRAGMENT")
            for operator in OPERATORS:
                self.declared.define(operator)


sys.modules["torchaudio"] = sys.modules["torchcodec"] = None  # type: ignore[assignment]
sys.meta_path.insert(0, Declaring())  # type: ignore[arg-type]
