#!/usr/bin/env bash
# FFmpeg's `setts` meets a film with B frames: who sets how long each picture lasts moves when it is shown.
#
# One would guess: `-c copy -bsf:v setts=duration=…` sets durations and leaves times alone, and a film that is
#                  copied shows the same pictures in the same order.
# What happens:    each packet's presentation time becomes its decode time. The film then begins before zero, and a
#                  decoder, which puts the pictures in order by themselves, hands out several whose time is earlier
#                  than that of the one before. Nothing is said of it, the status is 0. With
#                  `setts=duration=…:pts=PTS` all times are as before.
# Why:             one expression, `TS`, stands in for each time that has none of its own, and it is the decode time.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux. 20 seconds.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 imageio-ffmpeg==0.8.1

cat > "$work/run.py" <<'PY'
import os
import subprocess
import sys

import av
import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg(*arguments: str) -> int:
    return subprocess.run([FFMPEG, "-y", "-loglevel", "error", *arguments]).returncode


def times(path: str) -> tuple[list[int], list[int]]:
    """Of the packets, in the order of the file; of the pictures, in the order in which they come."""
    with av.open(path) as container:
        packets = [packet.pts for packet in container.demux(video=0) if packet.size]
    with av.open(path) as container:
        return packets, [frame.pts for frame in container.decode(video=0)]


os.chdir(sys.argv[1])
print("PyAV", av.__version__, "| ffmpeg", imageio_ffmpeg.get_ffmpeg_version(), flush=True)
ffmpeg("-f", "lavfi", "-i", "testsrc=d=2:r=10:s=160x120", "-c:v", "libx264", "-bf", "2",
       "a.mp4")
status = ffmpeg("-i", "a.mp4", "-c", "copy", "-bsf:v", "setts=duration=1024", "b.mp4")
ffmpeg("-i", "a.mp4", "-c", "copy", "-bsf:v", "setts=duration=1024:pts=PTS", "c.mp4")
found = {name: times(f"{name}.mp4") for name in "abc"}
for name, (packets, pictures) in found.items():
    print(f"    {name}.mp4  packets {packets[:8]} …  pictures {pictures[:8]} …")
print()
back = sum(later < earlier for earlier, later in zip(found["b"][1], found["b"][1][1:]))
changed = False
for what, holds in [
    ("the film's pictures come in the order of their times", found["a"][1] == sorted(found["a"][1])),
    ("copied with a duration, the packets' times are another film's", found["b"][0] != found["a"][0]),
    ("they are in the order of decoding", found["b"][0] == sorted(found["b"][0])),
    (f"{back} pictures have an earlier time than the one before", back > 3),
    ("ffmpeg ended with 0", status == 0),
    ("with pts=PTS as well, all times are those of the film", found["c"] == found["a"]),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/run.py" "$work"
