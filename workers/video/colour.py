"""Colours that no ordinary screen shows, brought to those that one does: BT.709, which pictures
and models take for granted.

High dynamic range (PQ and HLG, ITU-R BT.2100) and wide gamut (BT.2020, P3). The light of each pixel
is found by its standard's own formula; FFmpeg's `tonemap` brings it below white; BT.1886 says how
it is written down. PyAV's FFmpeg has no `zscale`, which would do all of it. Its `scale` can, but
computes a table for seconds before the first picture, and what `VideoFrame.reformat` takes for this
cuts off all above white. Knows nothing of sizes and files.
"""

import re
import struct
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

import av
import numpy as np
from numpy.typing import NDArray

from workers.video.filters import filtered
from workers.video.printed import printed
from workers.video.shape import Frames
from workers.video.side_data import side_data

Light = NDArray[np.float32]
"""(height, width, 3), linear; 1 is the white of paper."""
Transfer = Literal["sdr", "pq", "hlg"]
Primaries = Literal["bt709", "bt2020", "p3"]

UNSPECIFIED = 2
"""Of transfer, primaries and matrix alike, ISO/IEC 23091-2: the file does not say."""
BT709_MATRIX, BT2020_MATRIX = 1, 9
BY_PRIMARIES = frozenset({10, 12, 13})
"""Matrices that follow from the primaries, and those of constant luminance, which is near enough:
swscale knows none of them."""
NOT_YUV = frozenset({14, 15})
"""ICtCp and Dolby's IPT: swscale takes them for YUV."""
TRANSFERS: dict[int, Transfer] = {16: "pq", 18: "hlg"}
PRIMARIES: dict[int, Primaries] = {9: "bt2020", 11: "p3", 12: "p3"}
DOLBY = re.compile(r"DOVI configuration record: .*profile: (5|10), .*compatibility id: 0")
"""As FFmpeg prints it, of a track whose colours only Dolby's decoder finds. Other profiles are HDR
or SDR as well."""
MAY_BE_DOLBY = frozenset({"hevc", "av1", "libdav1d"})

WHITE_NITS, HLG_NITS, MOST_NITS = 203.0, 1000.0, 10_000.0
"""What is white in HDR, ITU-R BT.2408; the screen that HLG means; the brightest that PQ can say."""
USUAL_NITS = 1000.0
"""The brightest of a film in PQ that does not say."""
GAMMA = 2.4
"""ITU-R BT.1886."""
FULL = 255 << 8
"""White, where swscale makes 16 bits a channel of YUV: 255/256 of what there is room for."""
ROWS = 128
"""At a time, so that a large picture's numbers do not fill the memory."""
XY = {
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
D65 = (0.3127, 0.3290)


@dataclass(frozen=True)
class Colour:
    """Other than the ordinary ones."""

    transfer: Transfer
    primaries: Primaries
    mapped: bool
    """False: the picture's colours are wrong."""

    @classmethod
    def told(cls, transfer: Any, primaries: Any, mapped: Any) -> "Colour":
        """By a decoder, which a video may have taken over. Raises ValueError."""
        if transfer not in get_args(Transfer) or primaries not in get_args(Primaries):
            raise ValueError(f"{transfer}, {primaries}")
        return cls(transfer, primaries, bool(mapped))


@dataclass(frozen=True)
class Tags:
    """As the numbers of ISO/IEC 23091-2."""

    transfer: int
    primaries: int
    matrix: int
    dolby: bool = False

    @classmethod
    def of_container(cls, container: Any, stream: Any) -> "Tags":
        """Of one that has not been decoded yet."""
        context = stream.codec_context
        may_be = context.name in MAY_BE_DOLBY
        return cls(
            int(context.color_trc),
            int(context.color_primaries),
            int(context.colorspace),
            may_be and DOLBY.search(printed(container, stream.index)) is not None,
        )

    def of(self, frame: Any) -> "Tags":
        """What the frame says; of what it does not, what its container says. HEVC's decoder, other
        than that of H.264, forgets what the container said."""
        said = Tags(
            _first(frame.color_trc, self.transfer),
            _first(frame.color_primaries, self.primaries),
            _first(frame.colorspace, self.matrix),
            self.dolby,
        )
        colour = said.colour
        wide = colour is not None and colour.primaries == "bt2020"
        if wide and (said.matrix == UNSPECIFIED or said.matrix in BY_PRIMARIES):
            return replace(said, matrix=BT2020_MATRIX)
        return replace(said, matrix=BT709_MATRIX) if said.matrix in BY_PRIMARIES else said

    @property
    def colour(self) -> Colour | None:
        """None: an ordinary one."""
        transfer = "pq" if self.dolby else TRANSFERS.get(self.transfer, "sdr")
        assumed: Primaries = "bt709" if transfer == "sdr" else "bt2020"
        primaries = PRIMARIES.get(self.primaries, assumed)
        mapped = not self.dolby and self.matrix not in NOT_YUV
        if mapped and transfer == "sdr" and primaries == "bt709":
            return None
        return Colour(transfer, primaries, mapped)


def _first(value: int, other: int) -> int:
    return other if value == UNSPECIFIED else int(value)


def to_bt709(picture: NDArray[np.uint16], colour: Colour, peak_nits: float) -> Frames:
    """Args:
    picture: (height, width, 3), RGB as the file has it; white is FULL.
    peak_nits: the brightest that it should hold, of PQ.
    """
    shown = np.empty(picture.shape, np.uint8)
    for top in range(0, len(picture), ROWS):
        light = _light(picture[top : top + ROWS], colour.transfer) @ _gamut(colour.primaries)
        if colour.transfer != "sdr":
            light = _below_white(light, peak_nits / WHITE_NITS)
        np.clip(light, 0, 1, out=light)
        shown[top : top + ROWS] = np.power(light, 1 / GAMMA, out=light) * 255 + 0.5
    return shown


def peak_nits(frame: Any, transfer: Transfer) -> float:
    """The brightest pixel, or else the brightest that its maker's screen could show: SMPTE ST 2086
    and CTA-861.3, as FFmpeg hands them on."""
    if transfer != "pq":
        return HLG_NITS
    brightest = 0.0
    content = side_data(frame, "CONTENT_LIGHT_LEVEL")
    if content is not None:
        brightest = float(struct.unpack_from("I", content)[0])
    screen = side_data(frame, "MASTERING_DISPLAY_METADATA")
    if not brightest and screen is not None:
        # AVMasteringDisplayMetadata: fractions of the primaries, the white point, the darkest and
        # the brightest; whether there are primaries, and luminances.
        *_, nits, parts, _, has_luminance = struct.unpack_from("22i", screen)
        brightest = nits / parts if has_luminance and parts else 0.0
    return min(max(brightest, WHITE_NITS), MOST_NITS) if brightest else USUAL_NITS


def _light(picture: NDArray[np.uint16], transfer: Transfer) -> Light:
    light: Light = _decoding(transfer)[picture]
    if transfer == "hlg":
        # Its screen's own curve goes by how bright a pixel is as a whole; gamma 1.2 at 1000 nits.
        bright = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= (bright**0.2 * (HLG_NITS / WHITE_NITS))[..., None]
    return light


@cache
def _decoding(transfer: Transfer) -> NDArray[np.float32]:
    """The light of each value; of HLG that of the scene, 1 its brightest."""
    signal = np.minimum(np.arange(1 << 16) / FULL, 1)
    if transfer == "pq":
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = signal ** (1 / m2)
        light = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
        light *= MOST_NITS / WHITE_NITS
    elif transfer == "hlg":
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = signal**GAMMA
    return light.astype(np.float32)


@cache
def _gamut(primaries: Primaries) -> NDArray[np.float32]:
    """To multiply rows of RGB with, from the right; white stays white."""
    to_709 = np.linalg.inv(_xyz("bt709")) @ _xyz(primaries)
    return to_709.T.astype(np.float32)


def _xyz(primaries: Primaries) -> NDArray[np.float64]:
    """CIE XYZ of RGB. SMPTE RP 177."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*XY[primaries], D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def _below_white(light: Light, peak: float) -> Light:
    """All up to 0.3 of white stays as it is; from there a Moebius curve brings the peak to white.
    By the brightest of the three, so that no hue changes."""
    frame = av.VideoFrame.from_ndarray(light, format="gbrpf32le")
    mapped: Light = filtered(
        frame, "tonemap", f"tonemap=mobius:desat=0:peak={peak:.4f}"
    ).to_ndarray()
    return mapped
