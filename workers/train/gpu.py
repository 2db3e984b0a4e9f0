"""Whether a training would find a GPU that computes: `python -m workers.train.gpu`.

Asked in a process of its own, for an error of CUDA stays with its process, and the trainer loads no
torch. Knows nothing of trainings.
"""

import os
import subprocess
import sys

from shared.errors import OutOfResources

ANSWERS_S = 60.0
"""With all imports."""


def prove_gpu() -> None:
    """Raises OutOfResources: there is none any more, or it does not compute."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "JAMAK_"))}
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "workers.train.gpu"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            timeout=ANSWERS_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OutOfResources(f"the GPU has not computed anything in {ANSWERS_S:.0f} s") from error
    if asked.returncode != 0:
        (*_, last) = asked.stdout.strip().splitlines() or [f"status {asked.returncode}"]
        raise OutOfResources(f"the GPU does not compute: {last}")


if __name__ == "__main__":
    import torch

    torch.ones(8, device="cuda").sum().item()
