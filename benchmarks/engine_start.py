"""What a system takes until it can work, and its memory while it does: in a process of its own.

    python -m benchmarks.engine_start SYSTEM CHECKPOINT ROWS POSITIONS REQUESTS

SYSTEM is `jamak` or `generate`. It ends with a line of JSON: CPU and wall seconds from the first
instruction until it could take work, and the most memory that it had while it made so many captions
of 4 frames.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

BEGAN = time.monotonic()
FRAMES, NEW_TOKENS = 4, (20, 200)


def started(system: str, checkpoint: Path, *sizes: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.engine_start", system, str(checkpoint)]
    done = subprocess.run(
        [*command, *map(str, sizes)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parent.parent,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(
    system: str, checkpoint: Path, rows: int, positions: int, requests: int
) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    from benchmarks.engine_systems import Generate, Jamak
    from benchmarks.engine_work import random_work
    from workers.model.loading import load_model

    loaded = load_model(checkpoint, model_id="random")
    maker = Jamak(loaded, rows, positions) if system == "jamak" else Generate(loaded, 1)
    ready = {"cpu_s": time.process_time(), "wall_s": time.monotonic() - BEGAN}
    maker.make(random_work(loaded, requests, FRAMES, NEW_TOKENS))
    if isinstance(maker, Jamak):
        maker.engine.close()
    return {**ready, "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    name, checkpoint, *sizes = sys.argv[1:]
    print(json.dumps(main(name, Path(checkpoint), *map(int, sizes))))
