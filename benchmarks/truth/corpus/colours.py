"""Colours that have to be converted, and fields that have to become frames."""

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


CURVES = {"pq": pq, "hlg": hlg, "gamma": gamma}
BT2020 = ("-color_primaries", "bt2020", "-colorspace", "bt2020nc")
TEN = ("-pix_fmt", "yuv420p10le")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", *TEN)
X265_2020 = "log-level=0:colorprim=bt2020:colormatrix=bt2020nc"


def converted(
    kind: str,
    name: str,
    curve: str,
    primaries: NDArray[np.float64],
    *codec: object,
    matrix: str = "bt2020",
    slack: int,
) -> Film:
    """Drawn in linear light, so that what it should look like is known."""

    def make(studio: Studio, path: Path) -> None:
        raw = studio.part(f"{name}.rgb48")
        with raw.open("wb") as file:
            for number in range(FRAMES):
                light = (paint(number, SIZE) / 255.0) ** GAMMA
                coded = CURVES[curve]((light @ primaries.T).clip(0))
                file.write((coded.clip(0, 1) * 65535).round().astype("<u2").tobytes())
        size = ("-s", f"{SIZE[0]}x{SIZE[1]}")
        source = ("-f", "rawvideo", "-pix_fmt", "rgb48le", *size, "-r", "25", "-i", raw)
        studio.ffmpeg(*source, "-vf", f"scale=out_color_matrix={matrix}", *codec, path)

    return Film(kind, name, make, evenly(FRAMES, 25), colours=CORNERS, colour_slack=slack)


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
PQ, HLG = ("-color_trc", "smpte2084", *BT2020), ("-color_trc", "arib-std-b67", *BT2020)
P3 = ("-color_primaries", "smpte432", "-color_trc", "bt709", "-colorspace", "bt709")
VP9 = ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-crf", "10", *TEN)
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "12", *TEN)
SDR_2020 = ("-color_trc", "bt2020-10", *BT2020)


def x265(curve: str) -> tuple[object, ...]:
    return (*X265, "-x265-params", f"{X265_2020}:transfer={curve}", "-tag:v", "hvc1")


WIDE = (*x265("bt2020-10"), *SDR_2020)
PRORES = ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")
DV = ("-c:v", "dvvideo", "-pix_fmt", "yuv420p")
FILMS = [
    converted("HDR", "pq.mp4", "pq", TO_2020, *x265("smpte2084"), *PQ, slack=50),
    converted("HDR", "pq.mkv", "pq", TO_2020, *x265("smpte2084")[:-2], *PQ, slack=50),
    converted("HDR", "pq.webm", "pq", TO_2020, *VP9, *PQ, slack=50),
    converted("HDR", "pq-av1.mp4", "pq", TO_2020, *AV1, *PQ, slack=50),
    converted("HDR", "hlg.mp4", "hlg", TO_2020, *x265("arib-std-b67"), *HLG, slack=50),
    converted("HDR", "hlg.mov", "hlg", TO_2020, *x265("arib-std-b67"), *HLG, slack=50),
    converted("HDR", "hlg.ts", "hlg", TO_2020, *x265("arib-std-b67")[:-2], *HLG, slack=50),
    converted("HDR", "hlg.webm", "hlg", TO_2020, *VP9, *HLG, slack=50),
    converted(
        "wide gamut", "bt2020.mp4", "gamma", TO_2020, *x265("bt2020-10"), *SDR_2020, slack=24
    ),
    converted("wide gamut", "p3.mov", "gamma", TO_P3, *X264, *P3, matrix="bt709", slack=14),
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
    interlaced(
        "interlaced.mov", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", "-flags", "+ildct"
    ),
    interlaced(
        "interlaced-dv.avi", "-c:v", "dvvideo", "-pix_fmt", "yuv420p", top=False, size=(720, 576)
    ),
    interlaced("interlaced.avi", "-c:v", "mpeg4", *Q2, *FIELDS),
]
