#!/usr/bin/env bash
# PyAV meets interlaced film: since version 17 a smaller picture keeps the comb that a smaller picture loses.
#
# One would guess: a frame that is scaled to a thumbnail is averaged over its rows, in which the two moments of an
#                  interlaced frame lie; so what moves is blurred in it, as in a thumbnail of the ffmpeg program,
#                  and a newer PyAV makes the picture that an older one made.
# What happens:    with PyAV 16, and with the ffmpeg program, it is. With PyAV 17 and 18 the same frame of the same
#                  film has stripes at each size, also at a quarter of it, where no row of the film has one of its
#                  own any more: neighbouring rows of the thumbnail differ by 211 of 255 in place of 20. Of a film
#                  with the same pictures that is not flagged as interlaced all of them make the same.
# Why:             since 17 PyAV hands whole frames to swscale, which looks at their flag and scales each field by
#                  itself: into fields of a thumbnail that is interlaced, too. Before it handed over rows without
#                  the flag; the ffmpeg program's filter scales by fields only when asked to (interl=1).
# Needs:           Python 3.11 or newer with venv, x86-64 Linux. A minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for version in 16.0.1 17.1.0 18.1.0; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet --disable-pip-version-check \
    "av==$version" numpy==2.4.6 imageio-ffmpeg==0.8.1
done

cat > "$work/film.py" <<'PY'
"""A bar that moves by sixteen pixels from each field to the next."""
import subprocess

import imageio_ffmpeg
import numpy as np

WIDTH, HEIGHT = 320, 240


def picture(number: int) -> bytes:
    rows = np.full((HEIGHT, WIDTH), 40, np.uint8)
    for field in (0, 1):
        left = 20 + (2 * number + field) * 16
        rows[field::2, left : left + 60] = 220
    return rows.tobytes() + bytes([128]) * (WIDTH * HEIGHT // 2)


raw = b"".join(picture(number) for number in range(5))
flagged = "-flags +ildct+ilme -vf setfield=tff".split()
for name, options in (("interlaced.mpg", flagged), ("progressive.mpg", [])):
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo",
         "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-", *options,
         "-c:v", "mpeg2video", "-q:v", "2", "-g", "1", name],
        input=raw, check=True,
    )
PY

cat > "$work/steps.py" <<'PY'
"""Of each film's third picture at 80x60: the largest step between two neighbouring rows."""
import json
import subprocess
import sys

import av
import imageio_ffmpeg
import numpy as np


def step(rows: np.ndarray) -> int:
    return int(np.abs(np.diff(rows.astype(int), axis=0)).max())


found = {}
for name in ("interlaced", "progressive"):
    with av.open(f"{name}.mpg") as container:
        frame = list(container.decode(video=0))[2]
    found[name] = step(frame.to_ndarray(format="gray", width=80, height=60))
    made = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", f"{name}.mpg", "-vf",
         "select=eq(n\\,2),scale=80:60:flags=bilinear", "-frames:v", "1", "-f", "rawvideo",
         "-pix_fmt", "gray", "-"],
        capture_output=True, check=True,
    ).stdout
    found[f"{name}, ffmpeg"] = step(np.frombuffer(made, np.uint8).reshape(60, 80))
print(json.dumps({"version": av.__version__, **found}))
PY

cat > "$work/told.py" <<'PY'
import json
import sys

import imageio_ffmpeg

seen = [json.loads(line) for line in sys.stdin]
print("ffmpeg", imageio_ffmpeg.get_ffmpeg_version())
for one in seen:
    print("   ", one)
print()
older, *newer = seen
SMOOTH, COMBED = 40, 150  # of 255
changed = False
for what, holds in [
    ("the ffmpeg program's thumbnail of either film is smooth",
     all(one[f"{name}, ffmpeg"] < SMOOTH for one in seen for name in ("interlaced", "progressive"))),
    ("so are those of PyAV 16", max(older["interlaced"], older["progressive"]) < SMOOTH),
    ("PyAV 17 and 18 make a comb of the interlaced one", all(one["interlaced"] > COMBED for one in newer)),
    ("and none of the other", all(one["progressive"] < SMOOTH for one in newer)),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY

cd "$work"
"18.1.0/bin/python" film.py
for version in 16.0.1 17.1.0 18.1.0; do "$version/bin/python" steps.py; done | "18.1.0/bin/python" told.py
