"""Films of which each frame holds two pictures."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from workers.video.filters import filtered

SIZE = WIDTH, HEIGHT = 128, 96


def picture(number: int) -> Any:
    """(height, width): a wave that has moved far from one picture to the next."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return (126 + 100 * np.sin((x + y / 2) / 9 + 2 * number)).astype(np.uint8)


def woven(first: Any, second: Any) -> Any:
    """The first one's lines on top."""
    both = first.copy()
    both[1::2] = second[1::2]
    return both


def field_film(path: Path, picture: Any, codec: str, options: dict[str, str], order: str) -> Path:
    """Args:
    order: which of its lines are the earlier ones: tff, bff, or prog.
    """
    grey = np.concatenate([picture, np.full((HEIGHT // 2, WIDTH), 128, np.uint8)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
            frame = filtered(frame, "setfield", f"mode={order}")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


X264 = ("mkv", "libx264", {"crf": "1", "x264-params": "rc-lookahead=0:interlaced=1"})
MPEG2 = ("ts", "mpeg2video", {"flags": "+ildct+ilme", "b": "20M"})
