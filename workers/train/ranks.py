"""Which of the processes of one training this is; the only one, where no launcher started it.

The launcher (processes.py) says so in the environment, with the names that torch and accelerate
read too. Knows nothing of what is trained.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed

LOOK_S = 0.2


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


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


def told_by_all(here: Any, name: str, folder: Path) -> list[Any]:
    """What each process has to tell, in the order of their ranks; waits for all of them.

    Before the trainer begins nothing but a folder joins them. One that fails instead is no reason
    to wait: the launcher ends the others.

    Args:
        here: of this one; anything that JSON can hold.
        name: of the question, new in this folder.
    """
    if count() == 1:
        return [here]
    part = folder / f"{name}.{rank()}.part"
    part.write_text(json.dumps(here), encoding="utf-8")
    part.replace(part.with_suffix(".json"))
    paths = [folder / f"{name}.{other}.json" for other in range(count())]
    while not all(path.exists() for path in paths):
        time.sleep(LOOK_S)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def be_silent_unless_first() -> None:
    """What is reported once is reported once; what goes wrong is told by each."""
    if not is_first():
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
