"""In streams without an index decoding begins at any keyframe, and nothing is guessed before."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.unit.test_decode import CLIPS, opened, plainly, timeline_of, write
from tests.videos import level
from workers.video.decode import FrameReader
from workers.video.sampling import sample_frames

NAL_SPS = 7


@pytest.mark.parametrize("name", ["stream.ts", "hevc.ts"])
def test_only_the_group_of_a_target_is_decoded(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, next(made for made in CLIPS if made.name == name))
    with opened(path) as video:
        timeline = timeline_of(video)
        keys = timeline.keys.tolist()
        assert len(keys) > 2
        target = next(time for time in timeline.times.tolist() if time > keys[-1])
        reader = FrameReader(video, timeline, lambda: None)
        (found,) = reader.read([target])
        assert found.exact
        assert video.decoded < 10
        picture = found.frame.to_ndarray(format="rgb24")
    np.testing.assert_array_equal(picture, plainly(path, [target])[0])


def test_keyframes_that_begin_in_the_middle_of_a_packet_are_not_sought(tmp_path: Path) -> None:
    """What is read first there is the rest of the frame before, with the keyframe's time."""
    path = write(tmp_path, next(made for made in CLIPS if made.name == "dvd.mpg"))
    with opened(path) as video:
        timeline = timeline_of(video)
        assert not timeline.seekable
        assert not video.places


def test_pictures_come_in_order_where_the_stream_does_not_say_how_far_they_are_reordered(
    tmp_path: Path,
) -> None:
    """Cameras often do not. FFmpeg guesses it from the first pictures that it decodes, and drops
    those that come too late for its guess."""
    path = tmp_path / "camera.ts"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"preset": "veryfast", "bf": "3", "g": "20", "x264-params": PYRAMID}
        for number in range(50):
            grey = np.full((64, 96, 3), level(number), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                container.mux(silent(packet))
        for packet in stream.encode():
            container.mux(silent(packet))
    sample = sample_frames(path, 50)
    assert sample.timestamps_s == tuple(round(number / 25, 6) for number in range(50))
    assert all(sample.exact)
    assert not sample.damaged
    seen = sample.frames.mean((1, 2, 3))
    assert np.abs(seen - [level(number) for number in range(50)]).max() < 4


PYRAMID = "b-pyramid=normal:b-adapt=0:ref=4"


def silent(packet: Any) -> Any:
    """Without what its sequence parameter set says in its last part (VUI, ITU-T H.264, E.1)."""
    units = bytes(packet).split(b"\x00\x00\x01")
    for i, unit in enumerate(units):
        if unit and unit[0] & 31 == NAL_SPS:
            units[i] = _without_vui(unit)
    told = av.Packet(b"\x00\x00\x01".join(units))
    told.stream, told.time_base = packet.stream, packet.time_base
    told.pts, told.dts, told.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
    return told


def _without_vui(unit: bytes) -> bytes:
    """ITU-T H.264, 7.3.2.1.1, of what x264 writes: 4:2:0, no scaling lists, frames alone."""
    bits = "".join(f"{byte:08b}" for byte in unit.replace(b"\x00\x00\x03", b"\x00\x00"))
    at = 32

    def number() -> int:
        nonlocal at
        zeros = bits.index("1", at) - at
        at += 2 * zeros + 1
        return int(bits[at - zeros - 1 : at], 2) - 1

    number()  # seq_parameter_set_id
    if unit[1] in (100, 110):
        assert [number() for _ in range(3)] == [1, 0, 0]  # 4:2:0, of 8 bits
        at += 2  # lossless, scaling lists
    number()  # log2_max_frame_num
    if number() == 0:  # pic_order_cnt_type
        number()
    number()  # max_num_ref_frames
    at += 1  # gaps_in_frame_num
    number(), number()  # width, height
    assert bits[at] == "1"  # frames alone
    at += 2
    assert bits[at : at + 2] == "01"  # not cropped; VUI
    kept = bits[: at + 1] + "0" + "1"
    kept += "0" * (-len(kept) % 8)
    found = bytes(int(kept[i : i + 8], 2) for i in range(0, len(kept), 8))
    assert b"\x00\x00" not in found[:-1]
    return found
