#!/usr/bin/env bash
# swscale, to 16 bits a channel: the flag for better chroma takes the green away.
#
# One would guess: `full_chroma_int` ("full chroma interpolation", for quality) changes a plain
#                  coloured area by nothing, for there is nothing to interpolate.
# What happens:    ten bits, 4:2:0, to rgb48le or rgba64le at the size that it has, bilinear: what was
#                  (48795, 8202, 0) is (48795, 0, 2009), and (7935, 17983, 56557) is (0, 0, 56557).
#                  Exit status 0, no warning. At half the size, with bicubic, or to gbrp16le, rgb24:
#                  right with the flag as well. It is the same in PyAV and in the ffmpeg program.
# Why:             seen only where two lines of chroma are mixed and nothing is scaled (bilinear, the same
#                  size); which line of swscale does it was not searched for.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux. Half a minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    av==18.1.0 imageio-ffmpeg==0.8.1 numpy==2.3.5

"$work/venv/bin/python" - <<'PY'
import subprocess
import sys

import av
import imageio_ffmpeg
import numpy as np
from av.video.reformatter import Interpolation

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
WIDE, HIGH = 64, 48
FLAG = Interpolation.FULL_CHR_H_INT
changed = False

# The left half is red, the right one blue; BT.601, limited range, ten bits.
luma = np.full((HIGH, WIDE), 81 * 4, np.uint16)
blue, red = (np.full((HIGH // 2, WIDE // 2), value * 4, np.uint16) for value in (90, 200))
blue[:, WIDE // 4 :], red[:, WIDE // 4 :] = 200 * 4, 100 * 4
PLANES = luma, blue, red


def frame() -> av.VideoFrame:
    made = av.VideoFrame(WIDE, HIGH, "yuv420p10le")
    for plane, values in zip(made.planes, PLANES, strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : values.shape[1]] = values
        plane.update(rows.tobytes())
    return made


def halves(picture: np.ndarray) -> list[tuple[int, ...]]:
    """A pixel of the left half, and one of the right."""
    row = picture[len(picture) // 4]
    return [tuple(int(one) for one in row[at][:3]) for at in (4, len(row) - 5)]


def by_pyav(form: str, by: int, how: Interpolation) -> list[tuple[int, ...]]:
    size = {"width": WIDE // by, "height": HIGH // by}
    return halves(frame().reformat(format=form, interpolation=how, **size).to_ndarray())


def by_program(form: str, by: int, how: str) -> list[tuple[int, ...]]:
    video = ["-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", f"{WIDE}x{HIGH}", "-i", "-"]
    scaled = ["-vf", f"scale={WIDE // by}:{HIGH // by}:flags={how}"]
    command = [FFMPEG, "-v", "error", *video, *scaled, "-f", "rawvideo", "-pix_fmt", form, "-"]
    done = subprocess.run(
        command, input=b"".join(map(bytes, PLANES)), capture_output=True, check=True
    )
    if done.stderr:
        print("    it says:", done.stderr.decode())
    channels = {"rgb48le": 3, "rgba64le": 4}[form]
    values = np.frombuffer(done.stdout, np.uint16)
    return halves(values.reshape(HIGH // by, WIDE // by, channels))


def expect(what: str, expected: object, seen: object) -> None:
    global changed
    if expected == seen:
        print(f"as before: {what}")
    else:
        changed = True
        print(f"CHANGED: {what}\n  expected: {expected}\n  seen:     {seen}")


print(f"PyAV {av.__version__}, ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}\n")
right = [(48795, 8202, 0), (7935, 17983, 56557)]
wrong = [(48795, 0, 2009), (0, 0, 56557)]
bilinear, bicubic = Interpolation.BILINEAR, Interpolation.BICUBIC
for form in ("rgb48le", "rgba64le"):
    print(f"{form}, at its own size, bilinear:")
    for name, by in (("PyAV", by_pyav), ("ffmpeg", by_program)):
        plain, flagged = (
            by(form, 1, how)
            for how in (
                (bilinear, bilinear | FLAG)
                if by is by_pyav
                else ("bilinear", "bilinear+full_chroma_int")
            )
        )
        print(f"    {name}, without the flag: {plain}\n    {name}, with it:          {flagged}")
        expect(f"{name}, {form}: right without full_chroma_int", right, plain)
        expect(f"{name}, {form}: green is lost with it", wrong, flagged)
print("elsewhere, with the flag:")
expect("right at half the size", right, by_pyav("rgb48le", 2, bilinear | FLAG))
expect("right with bicubic", right, by_pyav("rgb48le", 1, bicubic | FLAG))
expect("right to planes", right, by_pyav("gbrp16le", 1, bilinear | FLAG))
eight = by_pyav("rgb24", 1, bilinear | FLAG)
expect("right in eight bits", [(191, 32, 0), (31, 70, 221)], eight)
sys.exit(changed)
PY
