"""Colours that have to be converted, and fields that have to become frames."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.corpus.codecs import Q2, X264
from benchmarks.truth.films import SIZE, Film, evenly
from benchmarks.truth.painting import CORNERS, paint
from benchmarks.truth.studio import Studio

Light = NDArray[np.float64]
FRAMES = 12
WHITE_NITS, PEAK_NITS = 203, 1000
"""Of white paper, in a film of high range (ITU-R BT.2408); of the screen that HLG is made for."""
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])
"""From BT.709, linear light."""
GAMMA = 2.4


def pq(light: Light) -> Light:
    """SMPTE ST 2084; light as a share of white."""
    powered = (light * WHITE_NITS / 10000) ** 0.1593017578125
    coded: Light = ((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375
    return coded


def hlg(light: Light) -> Light:
    """ITU-R BT.2100, for a screen of PEAK_NITS."""
    shown = light * WHITE_NITS / PEAK_NITS
    luma = (shown @ np.array([0.2627, 0.6780, 0.0593]))[..., None].clip(1e-9)
    scene = shown * luma ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
    coded: Light = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return coded


def gamma(light: Light) -> Light:
    coded: Light = light ** (1 / GAMMA)
    return coded


@dataclass(frozen=True)
class Screen:
    """What a film is coded for."""

    curve: Callable[[Light], Light]
    primaries: NDArray[np.float64]
    tags: tuple[str, str, str]
    """Primaries, transfer, matrix: as FFmpeg calls them."""
    slack: int
    """Levels by which colours may be off: tone mapping is a matter of taste."""


PQ = Screen(pq, TO_2020, ("bt2020", "smpte2084", "bt2020nc"), 50)
HLG = Screen(hlg, TO_2020, ("bt2020", "arib-std-b67", "bt2020nc"), 50)
WIDE = Screen(gamma, TO_2020, ("bt2020", "bt2020-10", "bt2020nc"), 24)
P3 = Screen(gamma, TO_P3, ("smpte432", "bt709", "bt709"), 14)
TEN = ("-pix_fmt", "yuv420p10le")
QUIET = ("-x265-params", "log-level=0")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "12", *TEN, *QUIET)
HVC1 = (*X265, "-tag:v", "hvc1")


def converted(kind: str, name: str, screen: Screen, *codec: object) -> Film:
    """Drawn in linear light, so that what it should look like is known."""

    def make(studio: Studio, path: Path) -> None:
        raw = studio.part(f"{name}.rgb48")
        with raw.open("wb") as file:
            for number in range(FRAMES):
                light = (paint(number, SIZE) / 255.0) ** GAMMA
                coded = screen.curve((light @ screen.primaries.T).clip(0))
                file.write((coded.clip(0, 1) * 65535).round().astype("<u2").tobytes())
        size = ("-s", f"{SIZE[0]}x{SIZE[1]}")
        source = ("-f", "rawvideo", "-pix_fmt", "rgb48le", *size, "-r", "25", "-i", raw)
        primaries, transfer, matrix = screen.tags
        # As an option of the encoder it would be overruled by the frames.
        told = f"setparams=color_primaries={primaries}:color_trc={transfer}:colorspace={matrix}"
        out = f"scale=out_color_matrix={matrix},format=yuv420p10le,{told}"
        studio.ffmpeg(*source, "-vf", out, *codec, path)

    shown = evenly(FRAMES, 25)
    return Film(kind, name, make, shown, colours=CORNERS, colour_slack=screen.slack)


def coded(name: str, matrix: str, tag: str, *codec: object, full: bool = False) -> Film:
    def make(studio: Studio, path: Path) -> None:
        out = f"scale=out_color_matrix={matrix}:out_range={'full' if full else 'limited'}"
        tags = ("-colorspace", tag, "-color_range", "pc" if full else "tv")
        studio.ffmpeg(*studio.pictures(FRAMES), "-vf", out, *codec, *tags, path)

    return Film("colour matrix", name, make, evenly(FRAMES, 25), colours=CORNERS)


def interlaced(name: str, *codec: object, top: bool = True, size: tuple[int, int] = SIZE) -> Film:
    """A number is painted on two fields, between which a bar moves."""

    def make(studio: Studio, path: Path) -> None:
        pictures = studio.fields(2 * FRAMES, 50, size=size)
        mode = "interleave_top" if top else "interleave_bottom"
        order = "tff" if top else "bff"
        woven = f"tinterlace=mode={mode},setfield={order}"
        studio.ffmpeg(*pictures, "-vf", woven, *codec, path)

    return Film(
        *("interlaced", name, make, evenly(FRAMES, 25)),
        aspect=size[0] / size[1] if size == SIZE else 4 / 3,
        combed=True,
        slack_s=0.002,
    )


FIELDS = ("-flags", "+ildct+ilme")
VP9 = ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-crf", "10", *TEN)
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "12", *TEN)
PRORES = ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")
DV = ("-c:v", "dvvideo", "-pix_fmt", "yuv420p")
FILMS = [
    converted("HDR", "pq.mp4", PQ, *HVC1),
    converted("HDR", "pq.mkv", PQ, *X265),
    converted("HDR", "pq.webm", PQ, *VP9),
    converted("HDR", "pq-av1.mp4", PQ, *AV1),
    converted("HDR", "pq.mov", PQ, *PRORES),
    converted("HDR", "hlg.mp4", HLG, *HVC1),
    converted("HDR", "hlg.mov", HLG, *HVC1),
    converted("HDR", "hlg.ts", HLG, *X265),
    converted("HDR", "hlg.webm", HLG, *VP9),
    converted("wide gamut", "bt2020.mp4", WIDE, *HVC1),
    converted("wide gamut", "bt2020.webm", WIDE, *VP9),
    converted("wide gamut", "p3.mov", P3, *X264),
    converted("wide gamut", "p3-hevc.mov", P3, *HVC1),
    coded("bt601.mp4", "bt601", "smpte170m", *X264),
    coded("bt709.mp4", "bt709", "bt709", *X264),
    coded("bt709.mkv", "bt709", "bt709", *X264),
    coded("bt709.ts", "bt709", "bt709", *X264),
    coded("bt2020.mkv", "bt2020", "bt2020nc", *X264),
    coded("full-range.mp4", "bt709", "bt709", *X264, full=True),
    coded("full-range.mkv", "bt601", "smpte170m", *X264, full=True),
    coded("bt709.webm", "bt709", "bt709", "-c:v", "libvpx-vp9", "-crf", 10, "-pix_fmt", "yuv420p"),
    coded("bt709.mov", "bt709", "bt709", *PRORES),
    interlaced("interlaced.mpg", "-c:v", "mpeg2video", *Q2, *FIELDS, "-f", "vob"),
    interlaced("interlaced.ts", *X264, "-x264-params", "tff=1"),
    interlaced("interlaced-bottom.mp4", *X264, "-x264-params", "bff=1", top=False),
    interlaced("interlaced.mkv", *X264, "-x264-params", "tff=1"),
    interlaced("interlaced-mpeg2.mxf", "-c:v", "mpeg2video", *Q2, *FIELDS),
    interlaced("interlaced.mov", *PRORES, "-flags", "+ildct"),
    interlaced("interlaced-dv.avi", *DV, top=False, size=(720, 576)),
    interlaced("interlaced.avi", "-c:v", "mpeg4", *Q2, *FIELDS),
]
