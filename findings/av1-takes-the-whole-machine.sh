#!/usr/bin/env bash
# PyAV meets SVT-AV1 in a container: after one AV1 video the process has real-time priority for good.
#
# One would guess: encoding three frames leaves the process as it was, whichever the encoder.
# What happens:    with libx264 it does. With libsvtav1, as root (which is who runs in most containers),
#                  the thread that opened the encoder is scheduled as SCHED_FIFO with priority 99 from
#                  then on, also when the encoder is closed. What it starts afterwards inherits that. On
#                  a machine of two cores two such processes that compute leave nothing to anybody else:
#                  databases, probes and shells stand still. Without root nothing happens, so it is not
#                  met on a desk.
# Why:             the encoder gives its own threads real-time priority where it may, and asks for it for
#                  the thread that makes them, too. Nobody takes it back.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux, root with the right to set a real-time
#                  priority (as in a virtual machine; a container may lack CAP_SYS_NICE). 20 seconds.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then echo "run it as root: without, nothing happens" >&2; exit 2; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6

cat > "$work/run.py" <<'PY'
import io
import os
import subprocess
import sys

import av
import numpy as np

NAMES = {os.SCHED_OTHER: "SCHED_OTHER", os.SCHED_FIFO: "SCHED_FIFO"}
ASK = "import os; print(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)"


def encode(encoder: str) -> int:
    """A video of three black frames; its size."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(encoder, rate=12)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(3):
            picture = np.zeros((64, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return len(file.getvalue())


def scheduled() -> tuple[str, int]:
    return NAMES[os.sched_getscheduler(0)], os.sched_getparam(0).sched_priority


def child() -> tuple[str, int]:
    told = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    policy, priority = map(int, told.stdout.split())
    return NAMES[policy], priority


print("PyAV", av.__version__)
before = scheduled()
print(f"    before                          {before}")
h264 = encode("libx264") and scheduled()
print(f"    after three frames of libx264   {h264}")
av1 = encode("libsvtav1") and scheduled()
print(f"    after three frames of libsvtav1 {av1}")
inherited = child()
print(f"    a process started now           {inherited}")
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
back = scheduled()
print(f"    after sched_setscheduler        {back}")
print()
changed = False
ordinary, real_time = ("SCHED_OTHER", 0), ("SCHED_FIFO", 99)
for what, holds in [
    ("libx264 leaves the process as it was", before == h264 == ordinary),
    ("libsvtav1 leaves it with real-time priority", av1 == real_time),
    ("which is inherited", inherited == real_time),
    ("and can be given back", back == ordinary),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
SVT_LOG=1 "$work/venv/bin/python" "$work/run.py"
