"""Formats that few users have, and files that are no films: read, or refused by their true name."""

from dataclasses import replace
from pathlib import Path

from benchmarks.truth.corpus.codecs import AV1, Q2, VP9, X264, YUV
from benchmarks.truth.corpus.plain import CIF, plain
from benchmarks.truth.films import Film, evenly
from benchmarks.truth.studio import Studio

SONG = ("-f", "lavfi", "-i", "sine=duration=2")
VVC = ("-c:v", "libvvenc", "-preset", "faster", "-pix_fmt", "yuv420p10le")
H261 = ("-c:v", "h261", *Q2)
MJPEG = ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p")


def rare(film: Film, named: str) -> Film:
    return replace(film, refused_as=f"(?i){named}")


def song(name: str, *codec: object, cover: bool = False) -> Film:
    def make(studio: Studio, path: Path) -> None:
        sleeve: tuple[object, ...] = ()
        if cover:
            picture = studio.part("sleeve.jpg")
            studio.ffmpeg(*studio.pictures(1), "-pix_fmt", "yuvj420p", picture)
            sleeve = ("-i", picture, "-map", "0", "-map", "1", "-c:v", "copy")
            sleeve = (*sleeve, "-disposition:v", "attached_pic")
        studio.ffmpeg(*SONG, *sleeve, *codec, path)

    return Film("sound only", name, make, evenly(1, 25), is_film=False, refused_as="(?i)sound")


def still(name: str, *codec: object) -> Film:
    """A picture that says no length: one frame, or refused."""

    def make(studio: Studio, path: Path) -> None:
        studio.ffmpeg(*studio.pictures(1), *codec, path)

    return Film(
        *("stills", name, make, evenly(1, 25)),
        open_s=5.0,
        refused_as="(?i)picture|image|still|png|jpeg|webp|bmp|tiff",
    )


KIND = "other formats"
FILMS = [
    rare(plain(KIND, "film.ivf", *VP9, frames=20), "ivf"),
    rare(plain(KIND, "film.obu", *AV1, frames=20), "obu|av1"),
    rare(plain(KIND, "film.nut", *X264, frames=20), "nut"),
    rare(plain(KIND, "film.y4m", *YUV, frames=20), "yuv4mpeg|y4m"),
    rare(plain(KIND, "film.mjpeg", *MJPEG, "-f", "mjpeg", frames=20), "jpeg"),
    rare(plain(KIND, "film.rm", "-c:v", "rv20", *Q2, frames=20), "rm|real"),
    rare(plain(KIND, "film.wtv", "-c:v", "mpeg2video", *Q2, frames=20, slack_s=0.002), "wtv"),
    rare(plain(KIND, "film.webp", "-c:v", "libwebp_anim", frames=20, slack_s=0.002), "webp"),
    rare(plain(KIND, "film.swf", "-c:v", "flv", *Q2, frames=20), "swf|flash"),
    rare(plain(KIND, "film.h261", *H261, fps="30000/1001", size=CIF), "h261"),
    rare(plain(KIND, "film.266", *VVC, "-f", "vvc", frames=20), "vvc|266"),
    plain("VVC", "vvc.mp4", *VVC, frames=20),
    plain("VVC", "vvc.ts", *VVC, frames=20),
    plain("lossless", "dirac.mkv", "-c:v", "vc2", "-pix_fmt", "yuv422p", frames=20),
    plain("VP8", "vp8.ogv", "-c:v", "libvpx", *YUV, "-f", "ogg"),
    song("song.mp3"),
    song("song-with-sleeve.mp3", cover=True),
    song("song.m4a"),
    song("song-with-sleeve.m4a", cover=True),
    song("song.ogg", "-c:a", "libvorbis"),
    song("song.wav"),
    song("song.flac"),
    song("song.mka", "-c:a", "libopus"),
    song("song.wma", "-c:a", "wmav2"),
    still("still.png"),
    still("still.jpg", "-pix_fmt", "yuvj420p"),
    still("still.webp"),
    still("still.bmp"),
    still("still.tiff"),
]
