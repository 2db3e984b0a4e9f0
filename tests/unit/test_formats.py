"""What a bucket of videos holds: each format is read, or refused by its true name."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from shared.errors import NotAVideo, NoVideoStream, Truncated
from shared.language import in_korean
from tests.hostile.contents import good, no_index, plain, spliced
from tests.hostile.encrypted import encrypted
from tests.hostile.files import encoded, mp4, picture, sound
from tests.hostile.no_videos import with_cover
from tests.hostile.pictures import heic
from workers.video.formats import why_unreadable
from workers.video.sampling import sample_frames

ALSO_READ = ("m1v", "m2v", "dv", "apng", "flc", "y4m", "ivf", "obu")


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ending", ALSO_READ)
def test_a_stream_without_an_index_gives_the_frames_at_its_centres(
    tmp_path: Path, ending: str
) -> None:
    path = written(tmp_path, f"film.{ending}", no_index()[ending])
    sample = sample_frames(path, 4)
    height, width = sample.frames.shape[1:3]
    with av.open(str(path)) as container:
        # A camera's tape has two fields, and points that are no squares: others see to that.
        plainly = [
            frame.to_ndarray(width=width, height=height, format="rgb24").astype(np.int16)
            for frame in container.decode(video=0)
        ]
    count = len(plainly)
    wanted = [int((part + 0.5) * count / 4) for part in range(4)]
    found = [
        int(np.argmin([np.abs(one - picture).mean() for one in plainly]))
        for picture in sample.frames
    ]
    assert found == wanted
    assert (sample.damaged, all(sample.exact)) == ("", True)
    rate = 25 if ending in ("dv", "obu") else 1000 / 41 if ending == "flc" else 24
    assert sample.duration_s == pytest.approx(count / rate, abs=0.02)


REFUSED = {
    b"ID3\4" + bytes(40): (NoVideoStream, "mp3: sound only", "sound only"),
    b"\xff\xfb\x90\x64" + bytes(40): (NoVideoStream, "mp3: sound only", "sound only"),
    b"RIFF\0\0\0\0WAVEfmt ": (NoVideoStream, "wav: sound only", "sound only"),
    b"\xff\xd8\xff\xe0\0\x10JFIF": (NotAVideo, "a picture (JPEG)", "pictures"),
    b"\xff\xd8\xff\xe0, and one more\xff\xd9" * 2: (NotAVideo, "a picture (JPEG)", "pictures"),
    b"\xff\xd8\xff\xe0 of many\xff\xd9" * 5: (
        NotAVideo,
        "format mjpeg is not read here",
        "`ffmpeg -i VIDEO.mjpeg VIDEO.mp4`",
    ),
    b"RIFF\0\0\0\0WEBPVP8 ": (NotAVideo, "a picture (WebP)", "pictures"),
    b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\2" + bytes(9) + b"ANIM": (
        NotAVideo,
        "format webp is not read here",
        "`ffmpeg -i VIDEO.webp VIDEO.mp4`",
    ),
    bytes(4) + b"RED2": (NotAVideo, "format r3d is not read here", "the program that made it"),
    b".RMF\0\0\0\x12": (NotAVideo, "format rm is not read here", "`ffmpeg -i VIDEO.rm"),
    b"CWS\x09\x11": (NotAVideo, "format swf is not read here", "`ffmpeg -i VIDEO.swf"),
    b"PK\3\4" + bytes(26) + b"a.mp4": (NotAVideo, "an archive (ZIP)", "Unpack"),
    b"PK\3\4" + bytes(26) + b"[Content_Types].xml": (NotAVideo, "a document (Office)", "Filter"),
    b"%PDF-1.7\n": (NotAVideo, "a document (PDF)", "Filter"),
    bytes(257) + b"ustar": (NotAVideo, "an archive (tar)", "Unpack"),
    b"MZ\x90\0\3": (NotAVideo, "a program (EXE)", "Filter"),
    b"\xef\xbb\xbf\n<!DOCTYPE html><p>404": (NotAVideo, "a web page", "download it again"),
    b'<?xml version="1.0"?>\n<html/>': (NotAVideo, "a web page", "download it again"),
    b"#EXTM3U\n#EXTINF:2,\na.ts\n": (NotAVideo, "a playlist", "that it names"),
    b'<?xml version="1.0"?>\n<MPD/>': (NotAVideo, "a playlist", "that it names"),
    b"version https://git-lfs.github.com/spec/v1\noid": (NotAVideo, "Git LFS", "git lfs pull"),
    b"WEBVTT\n\n00:01.000 --> ": (NotAVideo, "a file of subtitles", "Filter"),
    '{"제목": "영상'.encode()[:-1]: (NotAVideo, "is no video but a text", "Filter"),
    bytes(4096): (NotAVideo, "holds zeros where a video begins", "Upload it again"),
    b"\0\0\0\x20ftypqt  ": (Truncated, "begins as mov but its index", "Upload it again"),
    b"\0\0\0\1mdat": (Truncated, "begins as mov but its index", "Upload it again"),
    b"FLV\1\5\0\0\0\x09": (NotAVideo, "begins as flv, but is broken", "Upload it again"),
    b"\x93\x11\x87\xfe": (NotAVideo, "is no video of a known format", "MP4, MOV, MKV or WebM"),
}


@pytest.mark.parametrize("head", REFUSED, ids=lambda head: repr(head[:24]))
def test_what_is_no_video_is_called_by_its_name(head: bytes) -> None:
    kind, says, cure = REFUSED[head]
    error = why_unreadable("a/b.mp4", head)
    assert type(error) is kind
    assert says in str(error) and "a/b.mp4" in str(error)
    assert cure in error.cure
    for text in (str(error), error.cure):
        assert "Errno" not in text and "<none>" not in text
        assert in_korean(text)


@pytest.mark.parametrize(("pictures", "says"), [(6, "format mjpeg"), (1, r"a picture \(JPEG\)")])
def test_a_film_of_large_jpegs_is_no_picture(tmp_path: Path, pictures: int, says: str) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + 9000 * b"\0" + b"\xff\xd9"
    with pytest.raises(NotAVideo, match=says):
        sample_frames(written(tmp_path, "a.mjpeg", pictures * jpeg), 4)


def test_text_in_another_encoding_is_no_sound() -> None:
    assert "sound" not in str(why_unreadable("a", "\ufeffSubject".encode("utf-16-le")))


def test_a_file_of_sound_says_so_by_its_format(tmp_path: Path) -> None:
    for name, content, says in (
        ("a.mp4", sound("mp4", "aac"), "mp4: sound only"),
        ("a.mka", sound("matroska", "aac"), "mkv: sound only"),
        ("a.mp3", sound("mp2", "mp2"), "mp2: sound only"),
        ("a.webm", sound("webm", "libopus"), "webm: sound only"),
        ("a.wma", sound("asf", "mp2"), "wma: sound only"),
        ("a.m4a", with_cover(sound("mp4", "aac")), "mp4: sound and a cover"),
    ):
        with pytest.raises(NoVideoStream, match=f"^{name}: {says}$") as caught:
            sample_frames(written(tmp_path, name, content), 4)
        assert in_korean(str(caught.value))


def test_a_codec_that_nothing_decodes_is_called_by_its_code(tmp_path: Path) -> None:
    matroska = encoded("matroska", frames=6).replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ")
    avi = encoded("avi", "mpeg4", frames=6).replace(b"FMP4", b"QQ42")
    fast = mp4(good())
    at = fast.index(b"avc1", fast.index(b"stsd"))
    # Of a recording, the index comes last.
    late = encoded("mp4", frames=6)
    late_at = late.index(b"avc1", late.index(b"stsd"))
    for name, content, code in (
        ("late.mp4", spliced(late, late_at, b"brxq"), "brxq"),
        ("a.mkv", matroska, "V_MPEG9/ISO/XYZ"),
        ("a.avi", avi, "QQ42"),
        ("a.mp4", spliced(fast, at, b"brxq"), "brxq"),
    ):
        with pytest.raises(NotAVideo, match=f"^{name}: codec {code} is not read here$") as caught:
            sample_frames(written(tmp_path, name, content), 4)
        assert "H.264" in caught.value.cure
        assert in_korean(str(caught.value))


def test_a_cut_file_is_told_without_what_the_library_says(tmp_path: Path) -> None:
    with pytest.raises(Truncated) as caught:
        sample_frames(written(tmp_path, "a.mp4", plain()[:9000]), 4)
    assert str(caught.value) == "a.mp4 begins as mp4 but its index is missing or broken"


ENCRYPTED = [(name, content) for name, _, content in encrypted()]


@pytest.mark.parametrize(("name", "content"), ENCRYPTED, ids=[name for name, _ in ENCRYPTED])
def test_an_encrypted_film_says_so(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(NotAVideo, match=f"^{name} is encrypted") as caught:
        sample_frames(written(tmp_path, name, content), 4)
    assert "copy protection" in caught.value.cure
    assert in_korean(str(caught.value)) and in_korean(caught.value.cure)


@pytest.mark.parametrize("ending", ["ts", "mpg", "asf"])
def test_a_damaged_film_is_not_called_encrypted(tmp_path: Path, ending: str) -> None:
    whole = no_index()[ending]
    middle = len(whole) // 2
    sample = sample_frames(
        written(tmp_path, "a", spliced(whole, middle, bytes(len(whole) // 8))), 4
    )
    assert len(sample.frames)


def test_a_picture_in_tiles_is_refused_as_what_it_is(tmp_path: Path) -> None:
    with av.open(io.BytesIO(heic())) as container:
        assert [stream.codec_context.width for stream in container.streams.video] == [128, 128]
    still = encoded("avif", "libsvtav1", 1, options={"preset": "12"})
    for name, content, form in (("a.heic", heic(), "HEIC"), ("a.avif", still, "AVIF")):
        with pytest.raises(NotAVideo, match=f"^{name} is no video but a picture .{form}.$"):
            sample_frames(written(tmp_path, name, content), 4)


def test_of_a_moving_avif_the_colours_are_taken(tmp_path: Path) -> None:
    """Beside its track it has a picture that stands for it."""
    path = written(tmp_path, "a.avif", encoded("avif", "libsvtav1", 6, options={"preset": "12"}))
    with av.open(str(path)) as container:
        assert [stream.frames for stream in container.streams.video] == [1, 6]
        plainly = [
            frame.to_ndarray(format="rgb24")
            for frame in container.decode(container.streams.video[1])
        ]
    sample = sample_frames(path, 8)
    np.testing.assert_array_equal(sample.frames, plainly)
    assert sample.duration_s == pytest.approx(6 / 24)


def test_of_several_bit_rates_the_one_that_is_there_is_taken(tmp_path: Path) -> None:
    """Windows Media for streaming: an encoder names three, and writes one."""
    file = io.BytesIO()
    with av.open(file, "w", format="asf") as out:
        streams = [out.add_stream("wmv2", rate=24) for _ in range(3)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number, (128, 64)), format="rgb24")
            out.mux(streams[2].encode(frame))
        out.mux(streams[2].encode())
    sample = sample_frames(written(tmp_path, "a.wmv", file.getvalue()), 4)
    assert (len(sample.frames), sample.damaged) == (4, "")
    assert sample.duration_s == pytest.approx(0.5, abs=0.01)


def test_a_picture_that_theora_shows_again_is_no_damage() -> None:
    """It has a packet of no bytes for that, which no decoder takes."""
    path = Path(__file__).parents[1] / "goldens" / "repeats.ogv"
    with av.open(str(path)) as container:
        sizes = [packet.size > 0 for packet in container.demux(video=0) if packet.pts is not None]
    assert sizes == [True, True, False, False, True, True, False, False]
    sample = sample_frames(path, 8)
    assert (sample.damaged, sample.decode_errors, all(sample.exact)) == ("", 0, True)
    assert sample.timestamps_s == pytest.approx((0, 0.04, 0.16, 0.2), abs=1e-3)
    assert sample.duration_s == pytest.approx(0.32, abs=1e-3)
    levels = [float(one.mean()) for one in sample.frames]
    steps = [(level - levels[0]) / (levels[1] - levels[0]) for level in levels]
    assert steps == pytest.approx([0, 1, 4, 5], abs=0.2)
