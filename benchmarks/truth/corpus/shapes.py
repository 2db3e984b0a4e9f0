"""How pictures are to be shown: aspect, crop, which way up, sizes that change."""

from pathlib import Path

from benchmarks.truth.corpus.codecs import AV1, Q2, THEORA, VP8, VP9, X264, X265
from benchmarks.truth.films import SIZE, Film, evenly
from benchmarks.truth.mp4 import box, insert
from benchmarks.truth.studio import Studio

FRAMES = 20
WIDE = SIZE[0] / SIZE[1]
MPEG2 = ("-c:v", "mpeg2video", *Q2)
PAL, NTSC = (720, 576), (720, 480)


def squeezed(name: str, sar: str, *codec: object, size: tuple[int, int] = SIZE) -> Film:
    up, down = (int(value) for value in sar.split("/"))

    def make(studio: Studio, path: Path) -> None:
        shape = ("-vf", f"setsar={sar}")
        studio.ffmpeg(*studio.pictures(FRAMES, size=size), *shape, *codec, path)

    aspect = size[0] * up / down / size[1]
    return Film("sample aspect", name, make, evenly(FRAMES, 25), aspect=aspect, slack_s=0.002)


def copied(
    kind: str,
    name: str,
    *told: object,
    codec: tuple[object, ...] = X264,
    before: tuple[object, ...] = (),
    aspect: float = WIDE,
    turned: str = "",
    around: tuple[int, int, int, int] = (0, 0, 0, 0),
    part: str = "",
) -> Film:
    """Encoded, and copied into a file that says how it is to be shown.

    Args:
        told: options of the copy.
        turned: a filter; how the pictures lie in the file.
        around: pixels that are to be cropped.
    """

    def make(studio: Studio, path: Path) -> None:
        whole = studio.part(f"whole-{name}{part}")
        lying = ("-vf", turned) if turned else ()
        studio.ffmpeg(*studio.pictures(FRAMES, around=around), *lying, *codec, whole)
        studio.ffmpeg(*before, "-i", whole, "-c", "copy", *told, path)

    return Film(kind, name, make, evenly(FRAMES, 25), aspect=aspect, slack_s=0.002)


LYING = {
    "0": "",
    "90": "transpose=clock",
    "180": "hflip,vflip",
    "270": "transpose=cclock",
}
"""Filters that lay a picture so that turning it so many degrees counter-clockwise puts it right."""


def turned(end: str, degrees: str, mirrored: bool, codec: tuple[object, ...] = X264) -> Film:
    """By the display matrix: what is turned is mirrored then."""
    lying = ",".join(filter(None, ["hflip" if mirrored else "", LYING[degrees]]))
    before: tuple[object, ...] = ("-display_rotation", degrees)
    if mirrored:
        before = (*before, "-display_hflip")
    name = f"turned-{degrees}{'-mirrored' if mirrored else ''}-{codec[1]}.{end}"
    return copied("orientation", name, codec=codec, before=before, turned=lying)


def told_by_stream(name: str, degrees: int, lying: str, flip: str = "") -> Film:
    """H.264's own message, for containers that have no matrix."""
    more = f":flip={flip}" if flip else ""
    told = f"h264_metadata=display_orientation=insert:rotate={degrees}{more}"
    return copied("orientation", name, "-bsf:v", told, turned=lying)


EDGES = (16, 8, 32, 24)
"""Pixels left, above, right, below."""


def clap(
    name: str, codec: tuple[object, ...] = X264, edges: tuple[int, int, int, int] = EDGES
) -> Film:
    """A clean aperture, ISO/IEC 14496-12: a size, and how far its middle is from the picture's."""

    def make(studio: Studio, path: Path) -> None:
        whole = studio.part(f"whole-{name}")
        studio.ffmpeg(*studio.pictures(FRAMES, around=edges), *codec, whole)
        left, top, right, bottom = edges
        fields = (*(SIZE[0], 1), *(SIZE[1], 1), *(left - right, 2), *(top - bottom, 2))
        payload = b"".join((value & 0xFFFFFFFF).to_bytes(4, "big") for value in fields)
        path.write_bytes(insert(whole.read_bytes(), SAMPLE_ENTRY, box(b"clap", payload)))

    return Film("crop", name, make, evenly(FRAMES, 25))


SAMPLE_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"*")
H264_CROP = "h264_metadata=crop_left=16:crop_top=8:crop_right=32:crop_bottom=24"


def changing(
    name: str, sizes: tuple[tuple[int, int], ...], *codec: object, sars: tuple[str, ...] = ()
) -> Film:
    """Of several sizes, or several aspects: pictures are shown like the first one."""

    def make(studio: Studio, path: Path) -> None:
        parts = []
        for number, size in enumerate(sizes):
            part = studio.part(f"part{number}-{name}")
            pictures = studio.pictures(FRAMES, size=size, first=FRAMES * number)
            sar = ("-vf", f"setsar={sars[number]}") if sars else ()
            studio.ffmpeg(*pictures, *sar, *codec, part)
            parts.append(part.read_bytes())
        path.write_bytes(b"".join(parts))

    aspect = sizes[0][0] / sizes[0][1]
    if sars:
        up, _, down = sars[0].partition("/")
        aspect *= int(up) / int(down)
    frames = FRAMES * len(sizes)
    return Film(
        "changes on the way",
        name,
        make,
        evenly(frames, 25),
        aspect=aspect,
        joined=True,
        slack_s=0.0025,
    )


def concatenated(name: str) -> Film:
    """Of two sizes, by the ffmpeg program: each has its own description in the file."""
    sizes = (SIZE, (320, 192))

    def make(studio: Studio, path: Path) -> None:
        parts = [studio.part(f"part{number}-{name}") for number in range(len(sizes))]
        for number, part in enumerate(parts):
            pictures = studio.pictures(FRAMES, size=sizes[number], first=FRAMES * number)
            studio.ffmpeg(*pictures, *X264, part)
        these = studio.part("parts.txt")
        these.write_text("".join(f"file '{part}'\n" for part in parts))
        studio.ffmpeg("-f", "concat", "-safe", 0, "-i", these, "-c", "copy", path)

    return Film("changes on the way", name, make, evenly(FRAMES * 2, 25), slack_s=0.0025)


def clap_turned(name: str, degrees: str) -> Film:
    """Cropped as it lies, and turned then."""
    left, top, right, bottom = {"90": (24, 16, 8, 32), "180": (32, 24, 16, 8)}[degrees]

    def make(studio: Studio, path: Path) -> None:
        upright = studio.part(f"upright-{name}")
        lying = ("-vf", LYING[degrees])
        studio.ffmpeg(*studio.pictures(FRAMES, around=EDGES), *lying, *X264, upright)
        wide, high = SIZE if degrees == "180" else SIZE[::-1]
        fields = (*(wide, 1), *(high, 1), *(left - right, 2), *(top - bottom, 2))
        payload = b"".join((value & 0xFFFFFFFF).to_bytes(4, "big") for value in fields)
        turned = studio.part(f"turned-{name}")
        studio.ffmpeg("-display_rotation", degrees, "-i", upright, "-c", "copy", turned)
        path.write_bytes(insert(turned.read_bytes(), SAMPLE_ENTRY, box(b"clap", payload)))

    return Film("crop", name, make, evenly(FRAMES, 25))


def clap_copied(name: str) -> Film:
    """Into Matroska, which has its own words for it."""

    def make(studio: Studio, path: Path) -> None:
        told = studio.part(f"clap-{name}.mp4")
        clap(told.name).make(studio, told)
        studio.ffmpeg("-i", told, "-c", "copy", path)

    return Film("crop", name, make, evenly(FRAMES, 25), slack_s=0.002)


FILMS = [
    squeezed("pal-wide.mpg", "64/45", *MPEG2, "-f", "vob", size=PAL),
    squeezed("pal.mpg", "16/15", *MPEG2, "-f", "vob", size=PAL),
    squeezed("ntsc.vob", "8/9", *MPEG2, size=NTSC),
    squeezed("ntsc-wide.ts", "32/27", *MPEG2, size=NTSC),
    squeezed("pal-wide.mp4", "64/45", *X264, size=PAL),
    squeezed("ntsc.mp4", "10/11", *X264, size=NTSC),
    squeezed("hdv.mp4", "4/3", *X264, size=(1440, 1080)),
    squeezed("hdv.ts", "4/3", *MPEG2, size=(1440, 1080)),
    squeezed("cctv.mp4", "2/1", *X264, size=(352, 576)),
    squeezed("cctv.avi", "2/1", "-c:v", "mpeg4", *Q2, size=(352, 576)),
    squeezed("half.mov", "1/2", *X264),
    squeezed("squeezed.mkv", "64/45", *X264),
    squeezed("squeezed.webm", "64/45", *VP9),
    squeezed("squeezed-vp8.webm", "3/2", *VP8),
    squeezed("squeezed.ts", "16/11", *X264),
    squeezed("squeezed.flv", "12/11", *X264),
    squeezed("squeezed.h264", "64/45", *X264),
    squeezed("squeezed-hevc.mp4", "64/45", *X265),
    squeezed("squeezed-hevc.ts", "40/33", *X265),
    squeezed("squeezed-av1.mp4", "64/45", *AV1),
    squeezed("squeezed-av1.mkv", "64/45", *AV1),
    squeezed("squeezed-mpeg4.mp4", "16/11", "-c:v", "mpeg4", *Q2),
    squeezed("squeezed.wmv", "64/45", "-c:v", "wmv2", *Q2),
    squeezed("squeezed.ogv", "64/45", *THEORA),
    squeezed("squeezed.mov", "64/45", "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"),
    squeezed("squeezed-mjpeg.mkv", "64/45", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    squeezed("squeezed.mxf", "64/45", *MPEG2, size=PAL),
    squeezed("dv-wide.avi", "64/45", "-c:v", "dvvideo", "-pix_fmt", "yuv420p", size=PAL),
    copied("sample aspect", "told-by-mp4.mp4", "-aspect", "16:9", aspect=16 / 9),
    copied("sample aspect", "told-by-mkv.mkv", "-aspect", "16:9", aspect=16 / 9, part=".mkv"),
    copied(
        *("sample aspect", "told-otherwise.mp4", "-aspect", "2:1"),
        codec=("-vf", "setsar=4/3", *X264),
        aspect=2.0,
    ),
    clap("clap.mp4"),
    clap("clap.mov"),
    clap("clap-hevc.mp4", X265),
    clap("clap-av1.mp4", AV1),
    clap("clap-odd.mp4", X264, (2, 0, 6, 2)),
    clap_turned("clap-turned-90.mp4", "90"),
    clap_turned("clap-turned-180.mov", "180"),
    clap_copied("clap.mkv"),
    *(
        copied("crop", f"window.{end}", "-bsf:v", H264_CROP, around=EDGES)
        for end in ("mp4", "ts", "mkv", "h264")
    ),
    copied(
        *("crop", "window-hevc.mp4", "-bsf:v", H264_CROP.replace("h264", "hevc")),
        codec=X265,
        around=EDGES,
    ),
    *(turned("mp4", degrees, mirrored) for degrees in LYING for mirrored in (False, True)),
    *(turned("mov", degrees, False) for degrees in ("90", "180", "270")),
    *(turned("mkv", degrees, False) for degrees in ("90", "180", "270")),
    turned("mkv", "90", True),
    turned("mp4", "90", False, X265),
    turned("mp4", "270", False, AV1),
    turned("webm", "90", False, VP9),
    turned("mov", "90", False, ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")),
    told_by_stream("turned-90.ts", 90, LYING["90"]),
    told_by_stream("turned-180.h264", 180, LYING["180"]),
    told_by_stream("turned-270.mkv", 270, LYING["270"]),
    told_by_stream("turned-90.flv", 90, LYING["90"]),
    copied(
        *("orientation", "turned-squeezed.mp4"),
        codec=("-vf", "transpose=clock,setsar=3/4", *X264),
        before=("-display_rotation", "90"),
        aspect=WIDE * 4 / 3,
    ),
    *(concatenated(f"sizes.{end}") for end in ("mp4", "mov", "mkv")),
    changing("sizes.ts", ((160, 96), (320, 192)), *X264),
    changing("sizes.h264", ((160, 96), (320, 192)), *X264),
    changing("aspects.ts", ((160, 96), (160, 96)), *X264, sars=("1/1", "4/3")),
    changing("aspects.mpg", (PAL, PAL), *MPEG2, "-f", "vob", sars=("16/15", "64/45")),
    changing("sizes.mpg", ((160, 96), (320, 192)), *MPEG2, "-f", "vob"),
]
