"""The same pictures packed otherwise: fragments, files without a length, sizes, pixel formats."""

from pathlib import Path

from benchmarks.truth.corpus.codecs import Q2, THEORA, VP8, VP9, X264, X265
from benchmarks.truth.corpus.lengths import UNEVEN, uneven
from benchmarks.truth.corpus.plain import plain
from benchmarks.truth.films import SIZE, Film, Shown, evenly
from benchmarks.truth.ogg import with_repeats
from benchmarks.truth.painting import paint
from benchmarks.truth.studio import Studio

MPEG2 = ("-c:v", "mpeg2video", *Q2)
FRAGMENTS = {
    "keyframes": "frag_keyframe+empty_moov",
    "each-frame": "frag_every_frame+empty_moov",
    "default-base": "frag_keyframe+empty_moov+default_base_moof",
    "cmaf": "cmaf+frag_keyframe+empty_moov",
    "dash": "dash+frag_keyframe+global_sidx+empty_moov",
    "delayed": "frag_keyframe+delay_moov",
    "hybrid": "hybrid_fragmented+frag_keyframe",
}
GOP = ("-g", "10")


def flic(name: str) -> Film:
    """Autodesk's FLC, by hand: 8 bits with a palette, each picture as it is."""

    def make(studio: Studio, path: Path) -> None:
        frames, (width, height) = 20, SIZE
        colours = sorted({tuple(p) for i in range(frames) for p in _pixels(i)})
        places = {colour: i for i, colour in enumerate(colours)}
        chunks = []
        for number in range(frames):
            bits = bytes(places[tuple(p)] for p in _pixels(number))
            parts = [_chunk(16, bits)]
            if number == 0:
                palette = b"".join(bytes(colour) for colour in colours)
                palette = palette.ljust(768, b"\0")
                parts.insert(0, _chunk(4, b"\x01\0\0\0" + palette))
            head = len(parts).to_bytes(2, "little") + bytes(8)
            chunks.append(_chunk(0xF1FA, head + b"".join(parts)))
        body = b"".join(chunks)
        fields = (0xAF12, frames, width, height, 8, 3)
        head = (len(body) + 128).to_bytes(4, "little")
        head += b"".join(field.to_bytes(2, "little") for field in fields)
        head += (50).to_bytes(4, "little")  # ms a frame
        path.write_bytes(head.ljust(80, b"\0") + (128).to_bytes(4, "little") + bytes(44) + body)

    return Film("FLI", name, make, evenly(20, 20), slack_s=0.002)


def _pixels(number: int) -> list[list[int]]:
    pixels: list[list[int]] = paint(number, SIZE).reshape(-1, 3).tolist()
    return pixels


def _chunk(kind: int, payload: bytes) -> bytes:
    return (len(payload) + 6).to_bytes(4, "little") + kind.to_bytes(2, "little") + payload


def repeats(name: str) -> Film:
    """Theora says `the last picture again` with a packet of no bytes."""
    again = frozenset({5, 6, 11, 20, 21, 22, 23, 28})

    def make(studio: Studio, path: Path) -> None:
        whole = studio.part(name)
        studio.ffmpeg(*studio.pictures(30), *THEORA, "-g", 1, whole)
        path.write_bytes(with_repeats(whole.read_bytes(), again))

    numbers = tuple(number for number in range(30) if number not in again)
    shown = Shown(tuple(number / 25 for number in numbers), numbers, 30 / 25)
    return Film("empty packets", name, make, shown)


def avif(name: str, *codec: object, frames: int = 10) -> Film:
    def make(studio: Studio, path: Path) -> None:
        studio.ffmpeg(*studio.pictures(frames, 10), *codec, path)

    shown = evenly(frames, 10)
    return Film("AVIF", name, make, shown, slack_s=0.002, open_s=1.0, refused_as="(?i)avif")


AOM = ("-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "10", "-pix_fmt", "yuv420p")
ALPHA = ("-filter_complex", "[0:v]format=yuva420p,split[a][b];[b]alphaextract[alpha]")
FILMS = [
    *(
        plain("fragmented MP4", f"fragments-{name}.mp4", *X264, *GOP, "-movflags", flags)
        for name, flags in FRAGMENTS.items()
    ),
    plain("fragmented MP4", "fragments.mov", *X264, *GOP, "-movflags", FRAGMENTS["keyframes"]),
    plain("fragmented MP4", "fragments-hevc.mp4", *X265, *GOP, "-movflags", FRAGMENTS["cmaf"]),
    plain("fragmented MP4", "smooth.ismv", *X264, *GOP),
    plain("fragmented MP4", "front.mp4", *X264, "-movflags", "faststart"),
    plain("no length", "live.mkv", *X264, "-live", 1),
    plain("no length", "live.webm", *VP8, "-live", 1),
    plain("no length", "cues-first.webm", *VP9, "-cues_to_front", 1),
    plain("no length", "no-length.flv", *X264, "-flvflags", "no_duration_filesize"),
    plain("transport stream", "camera.m2ts", *X264, "-mpegts_m2ts_mode", 1),
    plain("transport stream", "one-key.ts", *X264, "-g", 1000, frames=100),
    plain("transport stream", "keys-only.ts", *X264, "-g", 1),
    plain("transport stream", "disc.mpg", *MPEG2, "-f", "dvd", "-muxrate", 10080000, "-bf", 2),
    plain("transport stream", "vcd.mpg", "-c:v", "mpeg1video", *Q2, "-f", "vcd", size=(352, 240)),
    plain("MP4's sisters", "film.f4v", *X264, "-f", "f4v"),
    plain("MP4's sisters", "film.3g2", *X264, "-f", "3g2"),
    plain("MP4's sisters", "ipod.m4v", *X264, "-f", "ipod"),
    plain("MP4's sisters", "ticks.mp4", *X264, "-video_track_timescale", 25),
    plain("MP4's sisters", "fine-ticks.mp4", *X264, "-video_track_timescale", 1000000),
    plain("MP4's sisters", "negative.mp4", *X264, "-movflags", "negative_cts_offsets"),
    plain("FLV", "av1.flv", *AOM),
    plain("keyframes", "one-key.mp4", *X264, "-g", 1000, frames=300),
    plain("keyframes", "keys-only.mp4", *X264, "-g", 1),
    plain("keyframes", "one-key.mkv", *X265, "-g", 1000, frames=100),
    plain("keyframes", "one-key.webm", *VP9, "-g", 1000, frames=100),
    plain("keyframes", "many.mp4", *X264, "-g", 50, frames=1000),
    plain("sizes", "odd.mkv", "-c:v", "libx264", "-pix_fmt", "yuv444p", size=(161, 97)),
    plain("sizes", "odd.gif", size=(161, 97), fps="20", slack_s=0.005),
    plain("sizes", "odd.webm", *VP9, size=(163, 101)),
    plain("sizes", "upright.mp4", *X264, size=(96, 160)),
    plain("sizes", "wide.mp4", *X264, size=(640, 64)),
    plain("sizes", "hd.mp4", *X264, size=(1280, 720), frames=12),
    plain("sizes", "uneven-hd.mp4", *X264, size=(1920, 1080), frames=6),
    *(
        plain("pixel formats", f"{name}-{fmt}.{end}", "-c:v", name, "-pix_fmt", fmt)
        for name, fmt, end in (
            ("ffv1", "gbrp", "mkv"),
            ("ffv1", "yuv410p", "mkv"),
            ("ffv1", "yuva444p", "mkv"),
            ("ffv1", "yuv420p16le", "mkv"),
            ("ffv1", "bgra", "mkv"),
            ("libx264", "nv12", "mp4"),
            ("libx264", "yuv420p10le", "mp4"),
            ("libx264", "yuv444p10le", "mkv"),
            ("libx265", "yuv422p12le", "mp4"),
            ("libx265", "gbrp", "mkv"),
            ("libvpx-vp9", "yuv420p10le", "webm"),
            ("libvpx-vp9", "gbrp", "webm"),
            ("libaom-av1", "yuv444p", "mp4"),
            ("png", "rgb48be", "mov"),
            ("png", "rgba", "mov"),
            ("qtrle", "argb", "mov"),
            ("utvideo", "gbrap", "mkv"),
            ("prores_ks", "yuv444p10le", "mov"),
        )
        if name != "libaom-av1"
    ),
    *(
        uneven("uneven rate", name, *codec, times_s=UNEVEN, ends_s=2.62, slack_s=slack, open_s=0.3)
        for name, slack, *codec in (
            ("uneven.ts", 0.002, *X264),
            ("uneven.flv", 0.002, *X264),
            ("uneven.wmv", 0.002, "-c:v", "wmv2", *Q2),
            ("uneven.avi", 0.002, "-c:v", "mpeg4", *Q2),
            ("uneven.m2ts", 0.002, *X265, "-f", "mpegts"),
        )
    ),
    flic("drawn.flc"),
    repeats("repeats.ogv"),
    avif("moving.avif", *AOM),
    avif("still.avif", *AOM, frames=1),
    avif("alpha.avif", *ALPHA, "-map", "[a]", "-map", "[alpha]", *AOM[:-2]),
]
