"""Videos with which nothing is wrong, and that few encoders make."""

from tests.hostile.contents import fragmented, good, half_fragmented, no_index
from tests.hostile.expected import OK, Made
from tests.hostile.files import (
    UNKNOWN,
    encoded,
    media_header,
    mkv,
    movie_header,
    mp4,
    numbers,
    sample_entry,
    track_header,
)


def odd() -> Made:
    """Nothing is wrong with these."""
    fast = {"preset": "ultrafast"}
    still = "libx265", {**fast, "x265-params": "log-level=0:pools=1:frame-threads=1"}
    yield "one-frame.mp4", OK, encoded("mp4", frames=1)
    yield "three-frames.mp4", OK, encoded("mp4", frames=3)
    yield "odd-size.mp4", OK, encoded("mp4", size=(321, 179), pixels="yuv444p")
    yield "ten-bit.mp4", OK, encoded("mp4", pixels="yuv420p10le")
    for matrix in ("YCgCo", "chroma-derived-c"):
        colours = {"x264-params": f"rc-lookahead=0:colormatrix={matrix}"}
        yield f"colours-{matrix}.mp4", OK, encoded("mp4", options=colours)
    yield "grey.mp4", OK, encoded("mp4", pixels="gray")
    yield "interlaced.mp4", OK, encoded("mp4", options={"x264-params": "tff=1:rc-lookahead=0"})
    yield "intra-refresh.mp4", OK, encoded("mp4", options={"intra-refresh": "1", "bf": "0"})
    yield "fragments.mp4", OK, fragmented()
    yield "half-fragments.mp4", OK, half_fragmented()
    yield "hevc.mp4", OK, encoded("mp4", still[0], options=still[1])
    yield "av1.mp4", OK, encoded("mp4", "libsvtav1", options={"preset": "12"})
    yield "alpha.webm", OK, encoded("webm", "libvpx-vp9", 12, pixels="yuva420p")
    yield "alpha.mov", OK, encoded("mov", "png", 12, pixels="rgba")
    yield "palette.avi", OK, encoded("avi", "rawvideo", 6, pixels="bgr24")
    yield "prores.mov", OK, encoded("mov", "prores_ks", 12, pixels="yuva444p10le")
    yield "animation.mov", OK, encoded("mov", "qtrle", 12, pixels="argb")
    yield "lossless.mkv", OK, encoded("matroska", "ffv1", 12, pixels="gbrp16le")
    yield "motion-jpeg.avi", OK, encoded("avi", "mjpeg", 12, pixels="yuvj422p")
    yield "thin.mkv", OK, encoded("matroska", "ffv1", 6, size=(512, 1))
    yield "one-pixel.mov", OK, encoded("mov", "png", 6, size=(1, 1), pixels="rgb24")
    for ending, made in no_index().items():
        yield f"whole.{ending}", OK, made
    pauses = [*range(24), *range(60, 84)]
    yield "pause-in-the-middle.mp4", OK, encoded("mp4", times=pauses)
    yield "pause-in-the-middle.mkv", OK, encoded("matroska", times=pauses)
    yield "last-frame-held.mp4", OK, mp4(good(), **held(96))
    yield "last-frame-held.mkv", OK, encoded("matroska", holds=96)
    yield "edit-list-from-the-middle.mp4", OK, edited(24, 24)
    yield (
        "edit-list-begins-late.mp4",
        OK,
        mp4(good(), elst=numbers(0, 2, 24, -1, UNIT, 48, 0, UNIT)),
    )
    yield "two-descriptions.mp4", OK, mp4(good(), stsd=two_descriptions())
    yield "live.mkv", OK, mkv(good(), duration=None, segment_size=UNKNOWN)
    yield "endless-clusters.mkv", OK, mkv(good(), cluster_size=UNKNOWN, segment_size=UNKNOWN)


UNIT = 1 << 16
"""1.0 as a fixed-point number: the rate of an edit list."""


def held(ticks: int) -> dict[str, bytes]:
    """Boxes of a video whose last frame stays on screen for so long."""
    total = 47 + ticks
    return {
        "stts": numbers(0, 2, 47, 1, 1, ticks),
        "mvhd": movie_header(total),
        "tkhd": track_header(total),
        "mdhd": media_header(total),
    }


def edited(start: int, ticks: int) -> bytes:
    """Shows a part of its frames."""
    return mp4(
        good(),
        elst=numbers(0, 1, ticks, start, UNIT),
        mvhd=movie_header(ticks),
        tkhd=track_header(ticks),
    )


def two_descriptions() -> bytes:
    entry = sample_entry(good())[8:]
    return numbers(0, 2) + entry + entry


def turned() -> Made:
    one = UNIT
    matrices = {
        "90": (0, one, 0, -one),
        "180": (-one, 0, 0, -one),
        "270": (0, -one, 0, one),
        "45": (46341, 46341, -46341, 46341),
        "mirrored": (-one, 0, 0, one),
        "flat": (0, 0, 0, 0),
        "skewed": (one, 2**31 - 1, 7, -one),
    }
    for name, (a, b, c, d) in matrices.items():
        matrix = numbers(a, b, 0, c, d, 0, 0, 0, 1 << 30)
        yield f"turned-{name}.mp4", OK, mp4(good(), tkhd=track_header(48, matrix=matrix))
