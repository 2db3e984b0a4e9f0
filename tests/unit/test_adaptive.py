"""Frames by content: scenes, cuts among keyframes, and what stands still gives its frames away."""

import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import TooLarge
from tests.videos import write_clip
from workers.progress import Progress
from workers.video.adaptive import Scene, moments, share_out
from workers.video.pool import DecoderPool
from workers.video.sampling import LEAST_PIXELS, Limits, Request, Sample
from workers.video.source import file_source

SIZE = (160, 96)
FPS = 12


def write(path: Path, scenes: list[tuple[float, int]], gop: int = 12) -> Path:
    """Each scene so many seconds long, its texture moving so many pixels a frame."""
    width, height = SIZE
    dice = np.random.default_rng(5)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"g": str(gop), "x264-params": "scenecut=0", "preset": "veryfast"}
        for seconds, speed in scenes:
            texture = dice.integers(0, 255, (height // 16, width // 4, 3), np.uint8)
            texture = texture.repeat(16, axis=0).repeat(16, axis=1)
            for number in range(round(seconds * FPS)):
                left = number * speed % (texture.shape[1] - width)
                picture = np.ascontiguousarray(texture[:, left : left + width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def sample(path: Path, n: int, limits: Limits | None = None, **request: object) -> Sample:
    pool = DecoderPool(1, limits)
    with pool.open(file_source(path), Progress()) as video:
        found = video.sample(replace(Request(n, strategy="adaptive"), **request))  # type: ignore[arg-type]
    pool.close()
    return found


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.01, 100)), min_size=1, max_size=30),
)
def test_each_scene_gets_a_frame_if_there_are_enough(
    n: int, given_scenes: list[tuple[float, float]]
) -> None:
    ends = np.cumsum([length for length, _ in given_scenes])
    scenes = [
        Scene(float(end) - length, float(end), weight)
        for end, (length, weight) in zip(ends, given_scenes, strict=True)
    ]
    shares = share_out(n, scenes)
    assert sum(shares) == n
    assert min(shares) >= (1 if n >= len(scenes) else 0)
    assert max(shares) <= max(1, n - len(scenes) + 1)
    found = moments(n, scenes)
    assert len(found) == n
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] <= ends[-1]


def test_every_scene_is_seen_however_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(10, 0), (1, 0), (1, 2)])
    found = sample(path, 4)
    assert (found.strategy, found.reason) == ("adaptive", "")
    assert [sum(a <= at < b for at in found.timestamps_s) for a, b in ((0, 10), (10, 11), (11, 12))]
    assert any(10 <= at < 11 for at in found.timestamps_s)
    assert any(at >= 11 for at in found.timestamps_s)
    assert all(found.exact)
    # Evenly taken frames would miss both.
    assert not any(at >= 10 for at in sample(path, 4, strategy="uniform").timestamps_s[:3])


def test_what_stands_still_gives_its_frames_away(tmp_path: Path) -> None:
    found = sample(write(tmp_path / "a.mp4", [(6, 0), (6, 3)]), 8)
    still = sum(at < 6 for at in found.timestamps_s)
    assert 1 <= still <= 2
    assert len(found.timestamps_s) == 8


def test_too_much_to_look_at_is_sampled_evenly_and_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(10, 0), (1, 0)])
    limits = Limits(scan_pixels=100 * SIZE[0] * SIZE[1])
    found = sample(path, 4, limits)
    assert found.strategy == "uniform"
    assert "132 frames of 160x96" in found.reason
    assert found.timestamps_s == sample(path, 4, strategy="uniform").timestamps_s


def test_what_cannot_be_decoded_twice_is_sampled_evenly(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(10, 0), (1, 0)])
    found = sample(path, 4, Limits(max_decoded=263))
    assert (found.strategy, found.reason) == ("uniform", "132 frames are more than half of 263")
    within = sample(path, 4, Limits(max_decoded=264))
    assert within.strategy == "adaptive"
    assert found.frames_looked_at == 0
    assert 0 < within.frames_looked_at <= 132
    assert within.frames_decoded <= 132


def test_a_window_is_shared_out_by_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(4, 2), (6, 0), (2, 2)])
    found = sample(path, 4, window_s=(4.0, 12.0))
    assert all(4 <= at < 12 for at in found.timestamps_s)
    assert sum(at >= 10 for at in found.timestamps_s) >= 2
    assert found.duration_s == pytest.approx(8.0, abs=0.2)


def test_a_segment_has_no_frame_of_the_scenes_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(41 / 12, 0), (37 / 12, 2), (50 / 12, 0)])
    edges = [0.0, round(41 / 12, 6), round(78 / 12, 6), round(128 / 12, 6)]
    for start, end in itertools.pairwise(edges):
        times = sample(path, 4, window_s=(start, end)).timestamps_s
        assert len(times) == 4
        assert start - 1e-3 <= times[0] <= times[-1] < end - 1e-3


def test_of_a_segment_only_its_own_bytes_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(10, 3)] * 4)
    pool = DecoderPool(1)
    # With no frames wanted no file is a small one.
    with pool.open(file_source(path), Progress(), frames=0) as video:
        found = video.sample(Request(4, (20.0, 22.0), strategy="adaptive"))
        assert found.strategy == "adaptive"
        assert not video.whole
    pool.close()


def test_frames_without_pixels_are_too_many_all_the_same(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "tiny.mp4", 300, size=(16, 16))
    limits = Limits(scan_pixels=299 * LEAST_PIXELS)
    assert "300 frames of 16x16" in sample(path, 4, limits).reason


def test_where_nothing_can_be_seen_no_changes_are_made_up(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(2, 0), (2, 0)])
    body = bytearray(path.read_bytes())
    start = body.index(b"mdat") + 4
    end = start - 8 + int.from_bytes(body[start - 8 : start - 4])
    body[start:end] = bytes(end - start)
    path.write_bytes(body)
    pool = DecoderPool(1)
    with pool.open(file_source(path), Progress()) as video:
        assert video.changes() == ([], "equal lengths: no scenes can be seen")
    pool.close()


def test_keyframes_count_as_decoded_frames_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [(4, 0)], gop=12)
    pool = DecoderPool(1, Limits(max_decoded=3))
    with (
        pytest.raises(TooLarge, match="3 frames"),
        pool.open(file_source(path), Progress()) as video,
    ):
        video.changes()
    pool.close()


@pytest.mark.parametrize("scan_pixels", [10**9, 1])
def test_changes_are_told_by_all_frames_or_by_keyframes(tmp_path: Path, scan_pixels: int) -> None:
    path = write(tmp_path / "a.mp4", [(4, 0), (3, 0), (5, 0)], gop=12)
    pool = DecoderPool(1, Limits(scan_pixels=scan_pixels))
    with pool.open(file_source(path), Progress()) as video:
        changes, reason = video.changes()
        # What was looked at roughly does not spoil what is decoded then.
        frames = video.sample(Request(4)).frames
    with pool.open(file_source(path), Progress()) as video:
        assert np.array_equal(video.sample(Request(4)).frames, frames)
    pool.close()
    assert changes == pytest.approx([4.0, 7.0], abs=0.1)
    assert ("keyframes" in reason) == (scan_pixels == 1)


def test_a_black_gap_gets_no_frame(tmp_path: Path) -> None:
    """Of three gaps of a second in twelve, however many frames are taken."""
    dice = np.random.default_rng(3)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"g": str(FPS), "preset": "veryfast"}
        for second in range(12):
            texture = dice.integers(60, 255, (6, 10, 3), np.uint8).repeat(16, 0).repeat(16, 1)
            for _ in range(FPS):
                picture = texture if second % 4 else np.zeros_like(texture)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    pool = DecoderPool(1, Limits(scan_pixels=1))
    with pool.open(file_source(tmp_path / "a.mp4"), Progress()) as video:
        changes, reason = video.changes()
    assert "keyframes" in reason
    assert changes == pytest.approx([2, 3, 5, 6, 7, 9, 10, 11])
    pool.close()
    for n in (4, 16):
        found = sample(tmp_path / "a.mp4", n)
        assert found.strategy == "adaptive"
        assert min(frame.mean() for frame in found.frames) > 60
