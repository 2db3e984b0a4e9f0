"""Makes `repeats.ogv`: eight pictures in Theora, of which the decoder is given four.

Nothing that PyAV brings writes Theora. Run with the extra `bench`:
`python -m tests.goldens.make_repeats`.
"""

import subprocess
from pathlib import Path

import imageio_ffmpeg

from benchmarks.truth.ogg import with_repeats

REPEATS = Path(__file__).with_name("repeats.ogv")
STAYS = frozenset({2, 3, 6, 7})
"""Numbers of packets without a byte: the picture before is shown again."""
DRAWN = "color=black:s=32x16:r=25:d=0.32,geq=lum='20+25*N':cb=128:cr=128"


def main() -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", DRAWN]
    command += ["-c:v", "libtheora", "-q:v", "10", "-g", "1", "-fflags", "+bitexact"]
    command += ["-flags", "+bitexact", "-f", "ogg", "-"]
    whole = subprocess.run(command, check=True, capture_output=True).stdout
    REPEATS.write_bytes(with_repeats(whole, STAYS))


if __name__ == "__main__":
    main()
