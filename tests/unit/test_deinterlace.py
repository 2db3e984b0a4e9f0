"""Of a frame that holds two pictures, the model sees one."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.fields import MPEG2, X264, field_film, picture, woven
from workers.progress import Progress
from workers.video.pool import DecoderPool
from workers.video.sampling import Request, Sample, sample_frames
from workers.video.shape import Shape
from workers.video.source import file_source


def error(sample: Sample, truth: Any) -> float:
    """Mean, of the green of its first frame."""
    light = (truth.astype(float) - 16) * 255 / 219
    return float(np.abs(sample.frames[0][..., 1] - np.clip(light, 0, 255)).mean())


@pytest.mark.parametrize(("kind", "codec", "options"), [X264, MPEG2])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_the_earlier_of_two_pictures_is_shown(
    tmp_path: Path, kind: str, codec: str, options: dict[str, str], order: str
) -> None:
    top, bottom = picture(0), picture(1)
    path = field_film(tmp_path / f"a.{kind}", woven(top, bottom), codec, options, order)
    sample = sample_frames(path, 1)
    assert sample.deinterlaced == 1
    earlier, later = (top, bottom) if order == "tff" else (bottom, top)
    assert error(sample, earlier) < 6
    assert error(sample, later) > 40


def test_a_small_picture_has_no_comb(tmp_path: Path) -> None:
    kind, codec, options = MPEG2
    path = field_film(tmp_path / f"a.{kind}", woven(picture(0), picture(1)), codec, options, "tff")
    small = sample_frames(path, 1, shape=Shape(48, None)).frames[0][..., 1].astype(float)
    comb = np.abs(small[1:-1] - (small[:-2] + small[2:]) / 2).mean()
    assert comb < 6


def test_what_calls_itself_one_picture_is_left_alone(tmp_path: Path) -> None:
    """Film in two fields of one moment is often labelled so."""
    _, codec, _ = X264
    options = {"crf": "1", "x264-params": "rc-lookahead=0"}
    both = woven(picture(0), picture(1))
    path = field_film(tmp_path / "a.mkv", both, codec, options, "prog")
    sample = sample_frames(path, 1)
    assert sample.deinterlaced == 0
    assert error(sample, both) < 2


def test_a_field_that_is_a_frame_by_itself_is_one_picture(tmp_path: Path) -> None:
    """As HEVC has them, which FFmpeg calls interlaced too."""
    options = {
        "x265-params": "log-level=none:pools=none:frame-threads=1:bframes=0:interlace=tff:crf=1"
    }
    one = picture(0)
    path = field_film(tmp_path / "a.mkv", one, "libx265", options, "tff")
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    sample = sample_frames(path, 1)
    assert sample.deinterlaced == 0
    assert error(sample, one) < 2


def test_a_decoder_that_may_do_nothing_can_do_this(tmp_path: Path) -> None:
    kind, codec, options = MPEG2
    path = field_film(tmp_path / f"a.{kind}", woven(picture(0), picture(1)), codec, options, "tff")
    pool = DecoderPool(1)
    try:
        with pool.open(file_source(path), Progress()) as video:
            sample = video.sample(Request(2))
    finally:
        pool.close()
    np.testing.assert_array_equal(sample.frames, sample_frames(path, 2).frames)
    assert sample.deinterlaced == 2
