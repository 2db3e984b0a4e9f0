"""Which of the processes of one training this is; the only one, where no launcher started it.

The launcher (processes.py) says so in the environment, with the names that torch and accelerate
read too. Knows nothing of what is trained.
"""

import os

import torch
from torch import distributed


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """The one that evaluates, reports and saves; the others compute steps."""
    return rank() == 0


def gpu() -> str:
    """The device of this process, if it computes on GPUs."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def anywhere(here: bool, device: torch.device) -> bool:
    """Whether it is so in any of the processes: all of them learn the same, at the same place.

    A signal reaches them one after the other. Were one to end a step earlier than the others, they
    would wait for it in the next.
    """
    if not distributed.is_initialized():
        return here
    told = torch.tensor(float(here), device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return bool(told)


def be_silent_unless_first() -> None:
    """What is reported once is reported once; what goes wrong is told by each."""
    if not is_first():
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
