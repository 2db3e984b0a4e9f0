"""What a decoder reads of a remote file is what it planned: it never waits for one block after
another."""

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from workers.video import decoder as decoder_module
from workers.video import spool as spool_module
from workers.video.byte_plan import Range
from workers.video.decoder import Session
from workers.video.sampling import Limits
from workers.video.source import file_source
from workers.video.spool import Spool

FPS, GOP = 25, 75
SIZE = (160, 96)
BLOCK = 64 << 10
"""Small, and larger than what FFmpeg reads at once, so that small files have many."""
CLOSED = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes=3:b-adapt=0"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (spool_module, decoder_module):
        monkeypatch.setattr(module, "BLOCK_BYTES", BLOCK)
    for name in ("HEAD_BYTES", "TAIL_BYTES", "END_PART_BYTES"):
        monkeypatch.setattr(spool_module, name, BLOCK)


class Parent:
    """Counts for which bytes somebody had to wait that no plan had."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.unplanned = 0

    def tick(self) -> None:
        pass

    def plan(self, ranges: Sequence[Range] | None) -> bool:
        return self._spool.plan(ranges)

    def need(self, start: int, end: int) -> int:
        before = self._spool.fetched_bytes
        until = self._spool.wait(start, end, lambda: None)
        self.unplanned += self._spool.fetched_bytes > before
        return until


class Remote:
    """A file, opened as a decoder does it: not small, so read by ranges."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        source = file_source(path)
        self.spool = Spool(None, 4, 1 << 30)
        self.spool.begin(source, 0)
        self.parent: Any = Parent(self.spool)
        told = {
            "name": path.name,
            "size_bytes": source.size_bytes,
            "limits": asdict(limits or Limits()),
            "still": False,
        }
        self.session = Session(self.parent, self.spool.fd, told)
        self.parent.unplanned = 0

    def close(self) -> None:
        self.spool.close()

    def sample(self, n: int, strategy: str = "uniform", window_s: Any = None) -> Any:
        told = {"n": n, "strategy": strategy, "window_s": window_s, "shape": None}
        return self.session.sample(told)


def write(path: Path, params: str = CLOSED, seconds: int = 12, sound: bool = False) -> Path:
    """Noise, for many bytes; each group of pictures another one. The sound lies behind it all."""
    dice = np.random.default_rng(6)
    apart = {"max_interleave_delta": "1"} if sound else {}
    with av.open(str(path), "w", container_options=apart) as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"preset": "ultrafast", "qp": "8", "x264-params": params}
        audio: Any = container.add_stream("pcm_s16le", rate=48_000) if sound else None
        for number in range(seconds * FPS):
            level = 40 + 60 * (number // GOP % 3)
            picture = dice.integers(level, level + 50, (SIZE[1], SIZE[0], 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for number in range(10 * seconds if sound else 0):
            samples = dice.integers(-3000, 3000, (1, 2 * 4800), np.int16)
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            heard.sample_rate, heard.pts, heard.time_base = (
                48_000,
                number * 4800,
                Fraction(1, 48_000),
            )
            container.mux(audio.encode(heard))
    return path


@pytest.mark.parametrize("sound", [False, True])
def test_frames_here_and_there(tmp_path: Path, sound: bool) -> None:
    remote = Remote(write(tmp_path / "a.mov", sound=sound))
    assert len(remote.sample(3).frames) == 3
    assert remote.parent.unplanned == 0
    assert not remote.spool.whole
    remote.close()


def test_a_part_of_it_by_content(tmp_path: Path) -> None:
    remote = Remote(write(tmp_path / "a.mp4"))
    found = remote.sample(2, "adaptive", (3.0, 6.0))
    assert found.strategy == "adaptive"
    assert remote.parent.unplanned == 0
    assert not remote.spool.whole
    remote.close()


def test_scene_changes_among_keyframes(tmp_path: Path) -> None:
    """With B frames, which a keyframe's picture would wait for."""
    remote = Remote(write(tmp_path / "a.mp4"), Limits(scan_pixels=1))
    changes, reason = remote.session.changes()
    assert changes == pytest.approx([3.0, 6.0, 9.0])
    assert "4 keyframes" in reason
    assert remote.parent.unplanned == 0
    assert not remote.spool.whole
    remote.close()


@pytest.mark.parametrize(("frame", "earlier"), [(GOP - 1, True), (GOP, False), (GOP + 3, False)])
def test_a_frame_that_needs_the_group_before(tmp_path: Path, frame: int, earlier: bool) -> None:
    """The last frame that is shown before the keyframe of an open group comes after it."""
    remote = Remote(write(tmp_path / "a.mp4", CLOSED + ":open-gop=1"))
    moment = (frame + 0.1) / FPS
    found = remote.sample(1, window_s=(moment, moment + 0.01))
    assert found.timestamps_s == (pytest.approx(frame / FPS),)
    assert all(found.exact)
    assert (found.frames_decoded > GOP / 2) is earlier
    assert remote.parent.unplanned == 0
    assert not remote.spool.whole
    remote.close()
