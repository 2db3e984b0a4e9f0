"""Films at one rate from beginning to end: every container, every codec."""

from pathlib import Path

from benchmarks.truth.corpus.codecs import AV1, Q2, VP8, VP9, X264, X265, YUV
from benchmarks.truth.films import SIZE, Film, evenly
from benchmarks.truth.studio import Args, Studio

CIF, SD = (352, 288), (720, 576)


def plain(
    kind: str,
    name: str,
    *codec: object,
    frames: int = 30,
    fps: str = "25",
    size: tuple[int, int] = SIZE,
    slack_s: float = 0.0015,
    aspect: float | None = None,
    before: Args = (),
) -> Film:
    """A film that needs nothing but one call of the ffmpeg program."""

    def make(studio: Studio, path: Path) -> None:
        studio.ffmpeg(*before, *studio.pictures(frames, fps, size=size), *codec, path)

    up, _, down = fps.partition("/")
    return Film(
        kind,
        name,
        make,
        evenly(frames, int(up) / int(down or 1)),
        aspect=aspect or size[0] / size[1],
        slack_s=slack_s,
    )


H264 = [
    plain("H.264", "h264.mp4", *X264),
    plain("H.264", "h264-no-b.mp4", *X264, "-bf", "0"),
    plain("H.264", "h264.mov", *X264),
    plain("H.264", "h264.mkv", *X264),
    plain("H.264", "h264.ts", *X264),
    plain("H.264", "h264.flv", *X264),
    plain("H.264", "h264.3gp", *X264, "-profile:v", "main"),
    plain("H.264", "h264.m4v", *X264),
    plain("H.264", "h264-avc3.mp4", *X264, "-tag:v", "avc3", "-bsf:v", "dump_extra"),
    plain("H.264", "h264-444.mp4", "-c:v", "libx264", "-pix_fmt", "yuv444p"),
    plain("H.264", "h264-10bit.mkv", "-c:v", "libx264", "-pix_fmt", "yuv422p10le"),
    plain("H.264", "h264-rgb.mkv", "-c:v", "libx264rgb", "-crf", "12"),
    plain("H.264", "h264-grey.mp4", "-c:v", "libx264", "-pix_fmt", "yuvj420p"),
    plain("H.264", "h264-open-gop.mp4", *X264, "-x264-params", "open-gop=1:keyint=8:bframes=3"),
    plain(
        "H.264", "h264-pyramid.ts", *X264, "-x264-params", "b-pyramid=normal:bframes=8:keyint=20"
    ),
    plain("H.264", "h264-intra-refresh.mp4", *X264, "-x264-params", "intra-refresh=1:keyint=10"),
    plain("raw H.264", "h264.h264", *X264),
    plain("raw H.264", "h264-no-b.264", *X264, "-bf", "0", "-f", "h264"),
]
HEVC = [
    plain("HEVC", "hevc.mp4", *X265, "-tag:v", "hvc1"),
    plain("HEVC", "hev1.mp4", *X265, "-tag:v", "hev1"),
    plain("HEVC", "hevc.mkv", *X265),
    plain("HEVC", "hevc.ts", *X265),
    plain("HEVC", "hevc.mov", *X265, "-tag:v", "hvc1"),
    plain("HEVC", "hevc.flv", *X265),
    plain("raw HEVC", "hevc.hevc", *X265),
]
WEB = [
    plain("VP8", "vp8.webm", *VP8),
    plain("VP8", "vp8.mkv", *VP8),
    plain(
        "VP8",
        "vp8-altref.webm",
        "-c:v",
        "libvpx",
        "-auto-alt-ref",
        "1",
        "-lag-in-frames",
        "16",
        *YUV,
    ),
    plain("VP9", "vp9.webm", *VP9),
    plain("VP9", "vp9.mp4", *VP9),
    plain(
        "VP9",
        "vp9-altref.webm",
        "-c:v",
        "libvpx-vp9",
        "-cpu-used",
        "5",
        "-lag-in-frames",
        "16",
        *YUV,
    ),
    plain("VP9", "vp9-alpha.webm", "-c:v", "libvpx-vp9", "-cpu-used", "8", "-pix_fmt", "yuva420p"),
    plain("AV1", "av1.mp4", *AV1),
    plain("AV1", "av1.webm", *AV1),
    plain("AV1", "av1.mkv", *AV1),
    plain("AV1", "av1-aom.mp4", "-c:v", "libaom-av1", "-cpu-used", "8", *YUV),
]
OLD = [
    plain("MPEG-4", "mpeg4.mp4", "-c:v", "mpeg4", *Q2),
    plain("MPEG-4", "mpeg4-b.mp4", "-c:v", "mpeg4", "-bf", "2", *Q2),
    plain("MPEG-4", "mpeg4.avi", "-c:v", "mpeg4", *Q2),
    plain("MPEG-4", "mpeg4.mkv", "-c:v", "mpeg4", "-bf", "2", *Q2),
    plain("MPEG-4", "mpeg4.ts", "-c:v", "mpeg4", "-bf", "2", *Q2),
    plain("MPEG-4", "raw.m4v", "-c:v", "mpeg4", *Q2, "-f", "m4v"),
    plain("MPEG-1 and 2", "mpeg1.mpg", "-c:v", "mpeg1video", *Q2),
    plain("MPEG-1 and 2", "mpeg1-b.mpg", "-c:v", "mpeg1video", "-bf", "2", *Q2),
    plain("MPEG-1 and 2", "mpeg2.mpg", "-c:v", "mpeg2video", *Q2, "-f", "vob"),
    plain("MPEG-1 and 2", "mpeg2-b.vob", "-c:v", "mpeg2video", "-bf", "2", *Q2),
    plain("MPEG-1 and 2", "mpeg2-b.ts", "-c:v", "mpeg2video", "-bf", "2", *Q2),
    plain("MPEG-1 and 2", "mpeg2.mkv", "-c:v", "mpeg2video", "-bf", "2", *Q2),
    plain("MPEG-1 and 2", "mpeg2.mov", "-c:v", "mpeg2video", "-bf", "2", *Q2),
    plain("MPEG-1 and 2", "mpeg2.mxf", "-c:v", "mpeg2video", "-bf", "2", *Q2),
    plain("raw MPEG-1 and 2", "mpeg1.m1v", "-c:v", "mpeg1video", *Q2, "-f", "mpeg1video"),
    plain(
        "raw MPEG-1 and 2", "mpeg2.m2v", "-c:v", "mpeg2video", "-bf", "2", *Q2, "-f", "mpeg2video"
    ),
    plain("H.263", "h263.3gp", "-c:v", "h263", *Q2, size=CIF, aspect=4 / 3),
    plain("H.263", "h263p.avi", "-c:v", "h263p", *Q2, size=CIF, aspect=4 / 3),
    plain("FLV", "flv1.flv", "-c:v", "flv", *Q2),
    plain("FLV", "flash-screen.flv", "-c:v", "flashsv"),
    plain("FLV", "flash-screen-2.flv", "-c:v", "flashsv2"),
    plain("WMV", "wmv1.wmv", "-c:v", "wmv1", *Q2, slack_s=0.002),
    plain("WMV", "wmv2.wmv", "-c:v", "wmv2", *Q2, slack_s=0.002),
    plain("WMV", "msmpeg4.asf", "-c:v", "msmpeg4", *Q2, slack_s=0.002),
    plain("WMV", "wmv2.avi", "-c:v", "wmv2", *Q2),
    plain("Theora", "theora.ogv", "-c:v", "libtheora", "-q:v", "9", *YUV),
    plain("Theora", "theora.mkv", "-c:v", "libtheora", "-q:v", "9", *YUV),
    plain("MJPEG", "mjpeg.avi", "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p"),
    plain("MJPEG", "mjpeg.mov", "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj422p"),
    plain("MJPEG", "mjpeg.mkv", "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj444p"),
]
STUDIO = [
    plain(
        "editing", "prores.mov", "-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le"
    ),
    plain(
        "editing",
        "prores-4444.mov",
        "-c:v",
        "prores_ks",
        "-profile:v",
        "4",
        "-pix_fmt",
        "yuva444p10le",
    ),
    plain(
        "editing",
        "dnxhr.mov",
        "-c:v",
        "dnxhd",
        "-profile:v",
        "dnxhr_sq",
        "-pix_fmt",
        "yuv422p",
        size=(320, 192),
    ),
    plain(
        "editing",
        "dnxhr.mxf",
        "-c:v",
        "dnxhd",
        "-profile:v",
        "dnxhr_sq",
        "-pix_fmt",
        "yuv422p",
        size=(320, 192),
    ),
    plain("editing", "cineform.mov", "-c:v", "cfhd", "-pix_fmt", "yuv422p10le"),
    plain("editing", "jpeg2000.mxf", "-c:v", "jpeg2000", *YUV),
    plain("editing", "jpeg2000.mov", "-c:v", "libopenjpeg", "-pix_fmt", "yuv444p"),
    plain("editing", "hap.mov", "-c:v", "hap"),
    plain("lossless", "ffv1.mkv", "-c:v", "ffv1", *YUV),
    plain("lossless", "ffv1.avi", "-c:v", "ffv1", *YUV),
    plain("lossless", "huffyuv.avi", "-c:v", "huffyuv", "-pix_fmt", "yuv422p"),
    plain("lossless", "ffvhuff.mkv", "-c:v", "ffvhuff", *YUV),
    plain("lossless", "utvideo.avi", "-c:v", "utvideo", *YUV),
    plain("lossless", "magicyuv.mkv", "-c:v", "magicyuv", "-pix_fmt", "gbrp"),
    plain("lossless", "raw.avi", "-c:v", "rawvideo", "-pix_fmt", "bgr24"),
    plain(
        "lossless",
        "raw.mov",
        "-c:v",
        "rawvideo",
        "-pix_fmt",
        "yuv422p",
        "-tag:v",
        "2vuy",
        "-pix_fmt",
        "uyvy422",
    ),
    plain("lossless", "v210.mov", "-c:v", "v210", "-pix_fmt", "yuv422p10le"),
    plain("lossless", "raw.mkv", "-c:v", "rawvideo", *YUV),
    plain("screen", "zmbv.avi", "-c:v", "zmbv"),
    plain("screen", "qtrle.mov", "-c:v", "qtrle"),
    plain("screen", "msrle.avi", "-c:v", "msrle", "-pix_fmt", "pal8"),
    plain("screen", "png.mov", "-c:v", "png", "-pix_fmt", "rgb24"),
    plain("cartridges", "cinepak.avi", "-c:v", "cinepak", frames=12),
    plain("cartridges", "cinepak.mov", "-c:v", "cinepak", frames=12),
    plain("cartridges", "msvideo1.avi", "-c:v", "msvideo1"),
    plain("palette in MOV", "smc.mov", "-c:v", "smc"),
    plain("palette in MOV", "rle-256.mov", "-c:v", "qtrle", "-pix_fmt", "gray"),
    plain("palette in MOV", "raw-256.mov", "-c:v", "rawvideo", "-pix_fmt", "pal8"),
    plain("palette in MOV", "png-256.mov", "-c:v", "png", "-pix_fmt", "pal8"),
    plain("cartridges", "svq1.mov", "-c:v", "svq1"),
]
PICTURES = [
    plain("GIF", "plain.gif", fps="20", slack_s=0.005),
    plain("APNG", "plain.apng", "-f", "apng", "-plays", "0"),
]
DV = [
    plain(
        "DV",
        f"dv.{end}",
        "-c:v",
        "dvvideo",
        "-pix_fmt",
        "yuv420p",
        size=SD,
        aspect=aspect,
        frames=12,
        before=(),
    )
    for end, aspect in (("dv", 4 / 3), ("avi", 4 / 3), ("mov", 4 / 3), ("mkv", 4 / 3))
]
RATES = [
    plain("rates", f"rate-{fps.replace('/', '-')}.{end}", *X264, fps=fps, frames=frames)
    for fps, frames in (("24000/1001", 30), ("60000/1001", 30), ("240", 60), ("2", 12))
    for end in ("mp4", "mkv", "ts")
]
FILMS = [*H264, *HEVC, *WEB, *OLD, *STUDIO, *PICTURES, *DV, *RATES]
