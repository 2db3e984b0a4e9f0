"""Makes films: paints pictures, and lets the ffmpeg program encode and pack them.

Nothing here is decoded.
"""

import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg

from benchmarks.truth.films import SIZE
from benchmarks.truth.painting import framed, paint, with_stripe

Args = Sequence[object]


class CannotMake(Exception):
    """The ffmpeg program did not write the film; what it said."""


class Studio:
    """Args:
    folder: where pictures and parts of films are kept meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def ffmpeg(self, *arguments: object) -> None:
        """Raises CannotMake."""
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-v", "error"]
        whole = [*command, *(str(one) for one in arguments)]
        done = subprocess.run(whole, capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
            raise CannotMake(f"{' '.join(whole[5:])}: {last[0]}")

    def pictures(
        self,
        frames: int,
        fps: object = 25,
        *,
        size: tuple[int, int] = SIZE,
        first: int = 0,
        scenes: tuple[int, ...] = (0,),
        around: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> list[object]:
        """Arguments that let ffmpeg read so many painted pictures.

        Args:
            first: number of the first one.
            scenes: of each picture; the last one of those that have none.
            around: pixels left, above, right and below, that are to be cropped.
        """
        told = zlib.crc32(f"{scenes} {around}".encode())
        name = f"{size[0]}x{size[1]}-{frames}-{first}-{told:08x}.rgb"
        path = self.folder / name
        if not path.exists():
            with path.open("wb") as file:
                for i in range(frames):
                    scene = scenes[min(i, len(scenes) - 1)]
                    file.write(framed(paint(first + i, size, scene), *around).tobytes())
        whole = (size[0] + around[0] + around[2], size[1] + around[1] + around[3])
        return self._raw(path, whole, fps)

    def _raw(self, path: Path, size: tuple[int, int], fps: object) -> list[object]:
        shape = ("-s", f"{size[0]}x{size[1]}", "-r", fps)
        return ["-f", "rawvideo", "-pix_fmt", "rgb24", *shape, "-i", path]

    def fields(self, fields: int, rate: int, *, size: tuple[int, int]) -> list[object]:
        """As `pictures`; two after each other have one number, and a stripe moves."""
        path = self.folder / f"{size[0]}x{size[1]}-{fields}-fields.rgb"
        with path.open("wb") as file:
            for i in range(fields):
                place = i * 0.11 % 1
                file.write(with_stripe(paint(i // 2, size), place).tobytes())
        return self._raw(path, size, rate)

    def part(self, name: str) -> Path:
        """A place for what a film is made of."""
        return self.folder / name


def timed(times_s: Sequence[float]) -> list[object]:
    """Arguments that show the pictures at these times."""
    place = "+".join(f"eq(N,{i})*{time:g}" for i, time in enumerate(times_s))
    arguments: list[object] = ["-vf", f"settb=1/1000,setpts='round(({place})/TB)'"]
    return [*arguments, "-fps_mode", "passthrough", "-enc_time_base", "1:1000"]


def held(path: Path, frames: int, last_s: float, ends_s: float) -> list[object]:
    """Arguments that let the frame that begins at `last_s` stay until `ends_s`.

    Matroska tells how long a frame is shown; MP4 only when the next one is decoded, so what comes
    last there, shown before others or not, has to last until the end.
    """
    by_table = path.suffix in (".mp4", ".mov")
    last = f"eq(N,{frames - 1})" if by_table else f"gte(PTS*TB,{last_s - 0.001:g})"
    # Unasked, the filter makes both times of a packet one.
    stays = f"if({last},{ends_s:g}/TB-PTS,DURATION)"
    return ["-bsf:v", f"setts=pts=PTS:dts=DTS:duration='{stays}'"]
