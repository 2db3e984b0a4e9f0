#!/usr/bin/env bash
# FFmpeg meets a film whose container says that it is HDR: with HEVC the pictures do not know it.
#
# One would guess: what `ffmpeg -i` prints of a film's colours, its pictures have, whichever the codec; and
#                  a film that is encoded anew keeps them.
# What happens:    an MP4 or MKV that says PQ and BT.2020 (`colr`, Colour), while its stream says nothing, is
#                  `yuv420p10le(bt2020nc/bt2020/smpte2084)` for `ffmpeg -i` with H.264, HEVC, AV1 and FFV1
#                  alike. The pictures of H.264, AV1 and FFV1 say so, too. Those of HEVC are "unspecified",
#                  and so is what PyAV's decoder says of the stream as soon as it has decoded one. Encoded
#                  anew, the HEVC film is untagged: every player shows it grey from then on, and no filter
#                  that maps tones does anything.
# Why:             HEVC's decoder takes the colours from the stream's own header with each new one, and where
#                  that has none it writes "unspecified" over what the container said. The others leave it.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux. 30 seconds.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  av==18.1.0 numpy==2.4.6 imageio-ffmpeg==0.8.1

cat > "$work/run.py" <<'PY'
import os
import subprocess
import sys
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
HDR, NOTHING = ("SMPTE2084", "BT2020"), ("UNSPECIFIED", "UNSPECIFIED")
SAY_HDR = "-color_trc smpte2084 -color_primaries bt2020 -colorspace bt2020nc".split()
ENCODERS = {
    "H.264": ("libx264", {}),
    "HEVC": ("libx265", {"x265-params": "log-level=none"}),
    "AV1": ("libsvtav1", {"preset": "12"}),
}


def ffmpeg(*arguments: str) -> str:
    return subprocess.run([FFMPEG, "-y", *arguments], capture_output=True, text=True).stderr


def film(path: str, encoder: str, options: dict[str, str]) -> None:
    """Three grey pictures in ten bits, of whose colours nothing is said."""
    with av.open(path, "w") as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        for number in range(3):
            grey = np.full((96, 64), 600, np.uint16)
            frame = av.VideoFrame.from_ndarray(grey, format="yuv420p10le")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def named(what: object) -> tuple[str, str]:
    trc, primaries = what.color_trc, what.color_primaries
    return (
        av.video.reformatter.ColorTrc(trc).name,
        av.video.reformatter.ColorPrimaries(primaries).name,
    )


def colours(path: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """What the container says, and what a picture says."""
    with av.open(path) as container:
        said = named(container.streams.video[0].codec_context)
        return said, named(next(container.decode(video=0)))


print("PyAV", av.__version__, "| ffmpeg", imageio_ffmpeg.get_ffmpeg_version(), flush=True)
os.chdir(sys.argv[1])
seen, again, printed = {}, {}, {}
for codec, (encoder, options) in ENCODERS.items():
    for kind in ("mp4", "mkv"):
        film(f"a.{kind}", encoder, options)
        ffmpeg("-i", f"a.{kind}", "-c", "copy", *SAY_HDR, f"hdr.{kind}")
        printed[codec, kind] = "bt2020nc/bt2020/smpte2084" in ffmpeg("-i", f"hdr.{kind}")
        seen[codec, kind] = colours(f"hdr.{kind}")
        ffmpeg("-i", f"hdr.{kind}", "-c:v", "libx264", "again.mp4")
        again[codec, kind] = colours("again.mp4")[0]
        said, has = seen[codec, kind]
        print(f"    {codec:5} in {kind}: the container {said}, a picture {has}")
        print(f"                  encoded anew: {again[codec, kind]}")
print()
others = [key for key in seen if key[0] != "HEVC"]
hevc = [key for key in seen if key[0] == "HEVC"]
changed = False
for what, holds in [
    ("ffmpeg -i calls each of them bt2020nc/bt2020/smpte2084", all(printed.values())),
    ("each container says PQ and BT.2020", all(said == HDR for said, _ in seen.values())),
    ("the pictures of H.264 and AV1 say so, too", all(seen[key][1] == HDR for key in others)),
    ("those of HEVC say nothing", all(seen[key][1] == NOTHING for key in hevc)),
    ("H.264 and AV1 encoded anew still say PQ", all(again[key] == HDR for key in others)),
    ("HEVC encoded anew says nothing", all(again[key] == NOTHING for key in hevc)),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
SVT_LOG=1 "$work/venv/bin/python" "$work/run.py" "$work"
