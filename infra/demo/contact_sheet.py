"""A picture of what the demo's films look like: one row a film, its sampled frames from the left.

python -m infra.demo.contact_sheet docs/images/demo-scenes.png
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from infra.demo.clips import Clip, film
from infra.demo.scenes import Scene, caption
from workers.video.sampling import sample_frames

SHOWN = (
    Scene("black", "red", "circle", "rightwards"),
    Scene("gray", "yellow", "star", "downwards"),
    Scene("white", "blue", "square", "leftwards"),
    Scene("navy", "orange", "heart", "upwards"),
    Scene("brown", "green", "triangle", "still"),
    Scene("black", "pink", "cross", "downwards"),
    Scene("gray", "purple", "heart", "rightwards"),
    Scene("navy"),
)
GAP = 4


def main() -> None:
    rows = [_strip(scene, Clip(seed)) for seed, scene in enumerate(SHOWN)]
    Image.fromarray(np.concatenate(rows)[:-GAP]).save(sys.argv[1], optimize=True)
    for scene in SHOWN:
        print(caption(scene))


def _strip(scene: Scene, clip: Clip) -> np.ndarray:
    """(height + gap, 4 * (width + gap), 3)."""
    with tempfile.TemporaryDirectory() as folder:
        frames = sample_frames(film(scene, clip, Path(folder) / "clip.mp4"), 4).frames
    framed = [np.pad(f, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for f in frames]
    return np.concatenate(framed, axis=1)


if __name__ == "__main__":
    main()
