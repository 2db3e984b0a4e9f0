"""What another program makes of a film: the ffmpeg program, which shares no line with ours and no
library with PyAV's wheel (it is of another release).

All frames, each with its best-effort time, turned as the file says. It asks the program, and
compares nothing.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from benchmarks.truth.films import SIZE
from benchmarks.truth.painting import Picture, Read, read

LINE = re.compile(
    r"showinfo.*? n: *\d+ pts: *\S+ pts_time: *(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+)"
)


@dataclass(frozen=True)
class Decoded:
    times_s: tuple[float, ...]
    """Since the first."""
    seen: tuple[Read, ...]
    aspect: float
    pictures: tuple[Picture, ...]
    """Scaled to SIZE."""
    said: str
    """Its last word, where something was wrong."""


def decode(path: Path) -> Decoded:
    """Of the track that the program takes by itself."""
    width, height = SIZE
    done = subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "info", "-hide_banner"),
            *("-i", str(path), "-an", "-sn", "-dn", "-fps_mode", "passthrough"),
            *("-vf", f"showinfo=checksum=0,scale={width}:{height}:flags=area"),
            *("-pix_fmt", "rgb24", "-f", "rawvideo", "-"),
        ],
        capture_output=True,
    )
    text = done.stderr.decode(errors="replace")
    lines = [match for line in text.splitlines() if (match := LINE.search(line))]
    pictures = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    times = [float(match[1]) if match[1] != "NOPTS" else float("nan") for match in lines]
    aspect = 0.0
    if lines:
        up, down, wide, high = (int(value) for value in lines[0].groups()[1:])
        aspect = wide * (up / down if up and down else 1.0) / high
    return Decoded(
        tuple(round(time - times[0], 6) for time in times),
        tuple(read(picture) for picture in pictures),
        aspect,
        tuple(pictures),
        "" if done.returncode == 0 else text.strip().splitlines()[-1],
    )
