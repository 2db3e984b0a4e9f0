"""Pictures of what the demo's films look like: one row a film, its sampled frames from the left.

python -m infra.demo.contact_sheet docs/images/demo-scenes.png
"""

import base64
import html
import io
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.demo.captions import caption
from infra.demo.clips import Clip, film
from infra.demo.evaluation import Answer
from infra.demo.scenes import Figure, Scene, single
from workers.video.sampling import sample_frames

SHOWN = (
    single("black", "red", "circle", "rightwards"),
    single("white", "blue", "square", "to the upper left"),
    single("navy", "orange", "heart", "growing"),
    single("brown", "green", "triangle", "still"),
    Scene("gray", (Figure("yellow", "star", "downwards"), Figure("pink", "cross", "still"))),
    Scene("white", (Figure("red", "heart", "leftwards"), Figure("blue", "star", "shrinking"))),
    Scene(
        "black",
        (Figure("pink", "cross", "downwards"),),
        then=single("brown", "yellow", "circle", "leftwards"),
    ),
    single("gray", "purple", "heart", "rightwards"),
    Scene("navy"),
)
FRAMES = 6
GAP = 4
COLOURS = 64


def main() -> None:
    rows = [strip(scene, Clip(seed), FRAMES) for seed, scene in enumerate(SHOWN)]
    Image.fromarray(np.concatenate(rows)[:-GAP]).quantize(COLOURS).save(sys.argv[1], optimize=True)
    for scene in SHOWN:
        print(caption(scene))


def strip(scene: Scene, clip: Clip, frames: int) -> NDArray[np.uint8]:
    """(height + gap, frames * (width + gap), 3)."""
    with tempfile.TemporaryDirectory() as folder:
        sampled = sample_frames(film(scene, clip, Path(folder) / "film"), frames).frames
    framed = [np.pad(f, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for f in sampled]
    return np.concatenate(framed, axis=1)


def misses_page(wrong: Mapping[str, Sequence[Answer]]) -> str:
    """An HTML page, complete in itself: what was shown, what it is, what was said."""
    rows = "\n".join(
        f"<tr><td>{html.escape(name)}<br>{answer.question}, {answer.frames} frames<br>"
        f"{answer.clip.resolution} {answer.clip.codec}</td>"
        f'<td><img src="data:image/png;base64,{_picture(answer)}"></td>'
        f"<td>{html.escape(caption(answer.scene))}<br><b>{html.escape(answer.said)}</b></td></tr>"
        for name, answers in wrong.items()
        for answer in answers
    )
    return (
        '<!doctype html><html lang="ko"><meta charset="utf-8"><title>Misses</title>'
        "<style>td{padding:8px;font:14px sans-serif} img{height:80px}</style>"
        f"<table><tr><th>asked<th>shown<th>is, <b>and was told as</b></tr>{rows}</table></html>"
    )


def _picture(answer: Answer) -> str:
    """PNG in base64."""
    image = Image.fromarray(strip(answer.scene, answer.clip, FRAMES))
    image.thumbnail((1200, 80))
    with io.BytesIO() as file:
        image.save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main()
