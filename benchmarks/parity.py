"""Do captions change when frames are scaled while they are decoded? Beside the stock resize.

    python -m benchmarks.parity [--json] [--quick] [--clips N]

Films of held-out scenes, captioned by the demo model: once from full frames through the stock
preprocessing (Pillow, bicubic with antialiasing), and once from what swscale makes of them. The
share of captions that are the same to the letter. The last row is of films that are stored with
half as many columns, each point twice as wide as high. `--json` ends with one object.
"""

import json
import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.programs import begin, parser_of

SEED, FRAMES = 7, 4
HOW = [("AREA", "BICUBIC"), ("BICUBIC", "BICUBIC"), ("AREA", "BILINEAR")]
"""What is made smaller, and what is made larger; the first is what Jamak does."""
WIDE = Fraction(2)


def main() -> None:
    parser = parser_of("parity", __doc__, quick="a few clips")
    parser.add_argument("--clips", type=int, default=300)
    arguments = begin(parser)
    # Torch takes seconds to load: first it is said how long all takes.
    import torch

    from infra.demo.clips import film, render, squeezed, write_film
    from infra.demo.evaluation import Eyewitness, jobs_of
    from infra.local.stack import DEMO_MODEL
    from workers.model.loading import load_model
    from workers.video import convert
    from workers.video.sampling import sample_frames

    torch.set_num_threads(1)
    loaded = load_model(DEMO_MODEL, model_id="jamak-demo")
    witness, shape = Eyewitness(loaded), loaded.preprocessor.shape
    jobs = jobs_of(3 if arguments.quick else arguments.clips, SEED)
    same, wide = dict.fromkeys(HOW, 0), 0
    with tempfile.TemporaryDirectory(prefix="jamak-parity-") as folder:
        for job in track(jobs, "captioning", console=Console(stderr=True)):
            path = film(job.scene, job.clip, Path(folder) / "film")
            stock = witness.tell(sample_frames(path, FRAMES).frames)
            for how in HOW:
                convert.SHRINK, convert.ENLARGE = how
                said = witness.tell(sample_frames(path, FRAMES, shape=shape).frames)
                same[how] += said == stock
            convert.SHRINK, convert.ENLARGE = HOW[0]
            path = Path(folder) / "squeezed.mp4"
            write_film(path, squeezed(render(job.scene, job.clip), 2, 1), job.clip.fps, points=WIDE)
            wide += witness.tell(sample_frames(path, FRAMES, shape=shape).frames) == stock
    told: dict[str, Any] = {
        "clips": len(jobs),
        "same": [
            {"shrink": shrink, "enlarge": enlarge, "share": round(count / len(jobs), 4)}
            for (shrink, enlarge), count in same.items()
        ],
        "squeezed": round(wide / len(jobs), 4),
    }
    grid = Table("made smaller", "made larger", "same caption")
    for row in told["same"]:
        grid.add_row(row["shrink"], row["enlarge"], f"{row['share']:.2%}")
    grid.add_row("points of 2:1", "", f"{told['squeezed']:.2%}")
    Console(file=sys.stdout).print(grid)
    if arguments.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
