"""Files whose clock starts again or jumps, whose frames have no times, or those of decoding."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from shared.messages import FramesUsed
from tests.hostile.contents import alternating
from tests.hostile.files import encoded
from tests.unit.test_decode import opened
from tests.unit.test_sampling import indices
from tests.videos import write_clip
from workers.video import sampling
from workers.video.clock import Clock
from workers.video.packet_times import from_packets
from workers.video.recordings import MOST, starts
from workers.video.sampling import Limits, Request, Sampler, sample_frames
from workers.video.untimed import filled, untrue

FPS = 25
SHARP = {"qmin": "1", "qmax": "1", "sc_threshold": "1000000000"}
FLV_HEADER_BYTES = 13


def film(path: Path, frames: int = 24, **how: object) -> Path:
    return write_clip(path, frames, **({"fps": FPS, "options": {"bf": "2"}} | how))  # type: ignore[arg-type]


def joined(folder: Path, kind: str, codec: str, after_h: int = 0) -> Path:
    """Two recordings of the same 24 frames, the second one's clock so many hours later."""
    first = film(folder / f"first.{kind}", codec=codec)
    late = [after_h * 3600 * FPS + number for number in range(24)]
    second = film(folder / f"second.{kind}", codec=codec, pts=late)
    path = folder / f"joined.{kind}"
    skipped = FLV_HEADER_BYTES if kind == "flv" else 0
    path.write_bytes(first.read_bytes() + second.read_bytes()[skipped:])
    return path


@pytest.mark.parametrize(
    ("kind", "codec", "after_h"),
    [
        ("ts", "libx264", 0),
        ("ts", "libx264", 1),
        ("mpg", "mpeg2video", 0),
        ("mkv", "libx264", 0),
        ("mkv", "libx264", 1),
        ("flv", "libx264", 0),
        ("flv", "libx264", 1),
        ("ogv", "libvpx", 0),
    ],
)
def test_one_recording_follows_the_other(
    tmp_path: Path, kind: str, codec: str, after_h: int
) -> None:
    sample = sample_frames(joined(tmp_path, kind, codec, after_h), 8)
    assert indices(sample.frames) == [3, 9, 15, 21] * 2
    assert sample.timestamps_s == pytest.approx(
        [(3 + 6 * number) / FPS for number in range(8)], abs=2e-3
    )
    assert all(sample.exact)
    assert sample.duration_s == pytest.approx(48 / FPS, abs=2e-3)
    assert sample.clock_jumps_s == pytest.approx((24 / FPS,), abs=2e-3)
    assert (sample.damaged, sample.decode_errors) == ("", 0)


def test_a_clock_that_goes_back_for_hours_is_another_recordings(tmp_path: Path) -> None:
    """FFmpeg takes it for one that has begun again at 2^33."""
    late = film(tmp_path / "late.ts", pts=[3600 * FPS + number for number in range(24)])
    path = tmp_path / "joined.ts"
    path.write_bytes(late.read_bytes() + film(tmp_path / "early.ts").read_bytes())
    sample = sample_frames(path, 8)
    assert indices(sample.frames) == [3, 9, 15, 21] * 2
    assert sample.clock_jumps_s == (0.96,)


def test_where_a_clock_jumps_the_scene_changes(tmp_path: Path) -> None:
    path = joined(tmp_path, "ts", "libx264")
    for scan_pixels in (Limits().scan_pixels, 1):
        with opened(path) as video:
            limits = Limits(scan_pixels=scan_pixels)
            sampler = Sampler(video, path.stat().st_size, limits, lambda: None)
            changes, reason = sampler.changes()
            assert 0.96 in [round(change, 6) for change in changes]
            assert ("keyframes" in reason) is (scan_pixels == 1)
            part = sampler.sample(Request(4, window_s=(0.96, 1.92)))
    assert indices(part.frames) == [3, 9, 15, 21]
    assert part.clock_jumps_s == (0.96,)


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_a_picture_that_is_held_for_long_is_no_jump(tmp_path: Path, kind: str) -> None:
    pts = [*range(12), *range(12 + 20 * 60 * FPS, 24 + 20 * 60 * FPS)]
    sample = sample_frames(film(tmp_path / f"held.{kind}", pts=pts), 3)
    assert sample.duration_s == pytest.approx(20 * 60 + 0.96, abs=0.01)
    assert sample.clock_jumps_s == ()


@pytest.mark.parametrize(
    ("shown", "held", "keys", "found"),
    [
        ([0, 3, 1, 2, 6, 4, 5], 1, {0}, [0]),
        # All are called keyframes, also those that are shown earlier.
        ([0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 12, 10, 11], 1, set(range(13)), [0]),
        ([0, 1, 2, 3, 0, 1, 2, 3], 1, {0, 4}, [0, 4]),
        ([*range(10, 30), *range(12, 36)], 1, {0, 20}, [0, 20]),
        # Without a keyframe many must be later than it.
        ([*range(40), 1, 2, 3], 1, {0}, [0, 40]),
        ([*range(20), 1, 2, 3], 1, {0}, [0]),
        ([0, 1, 2, 5000, 5001], 1, {0}, [0, 3]),
        ([0, 1, 2, 5000, 5001], 4998, {0}, [0]),
        ([0, 2000, 4000, 6000], 1, {0}, [0]),
        # Others are decoded later, and shown in between.
        ([*range(20), 1700, 800, 900, 2100], 1, {0}, [0]),
    ],
)
def test_where_recordings_begin(
    shown: list[int], held: int, keys: set[int], found: list[int]
) -> None:
    times = np.array(shown)
    is_key = np.array([number in keys for number in range(len(shown))])
    assert starts(times, times + held, is_key, 0.5, 1000) == found


def test_a_clock_that_jumps_all_the_time_is_not_believed(tmp_path: Path) -> None:
    """Nor are so many jumps told: what a decoder says, and a record, has a limit."""
    path = tmp_path / "a.flv"
    path.write_bytes(alternating(2 * MOST + 4))
    sample = sample_frames(path, 4)
    assert sample.clock_jumps_s == ()
    assert sample.damaged == "the file's clock jumps more than 1000 times: its frames are counted"
    assert (len(sample.frames), any(sample.exact)) == (4, False)
    # One less is as many recordings.
    path.write_bytes(alternating(2 * MOST + 2))
    sample = sample_frames(path, 4)
    assert (len(sample.clock_jumps_s), sample.damaged) == (MOST, "")
    most = FramesUsed.model_json_schema()["properties"]["clock_jumps_s"]["maxItems"]
    assert most == MOST


def test_no_more_changes_are_told_than_a_message_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evenly picked, where there are more."""
    monkeypatch.setattr(sampling, "MOST_CHANGES", 10)
    path = tmp_path / "a.flv"
    path.write_bytes(alternating(52))
    with opened(path) as video:
        sampler = Sampler(video, path.stat().st_size, Limits(), lambda: None)
        changes, _ = sampler.changes()
    assert len(sampler.timeline.joints) == 25
    assert changes == [sampler.timeline.seconds(time) for time in sampler.timeline.joints[::3]]


def without_times(path: Path, keep: int) -> None:
    """In a file of one stream of MPEG-TS; of each so many timestamps one is kept."""
    content, number = bytearray(path.read_bytes()), 0
    for at in range(0, len(content), 188):
        if (content[at + 1] & 0x1F) << 8 | content[at + 2] == 0x100 and content[at + 1] & 0x40:
            header = at + 5 + content[at + 4] if content[at + 3] & 0x20 else at + 4
            if number % keep:
                content[header + 7] &= 0x3F
                size = content[header + 8]
                content[header + 9 : header + 9 + size] = b"\xff" * size
            number += 1
    path.write_bytes(content)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("b_frames", "keep"), [("0", 12), ("2", 12), ("2", 7)])
def test_frames_without_a_time_of_their_own_are_frames(
    tmp_path: Path, codec: str, b_frames: str, keep: int
) -> None:
    options = {"bf": b_frames, "x265-params": f"log-level=0:bframes={b_frames}"}
    path = film(tmp_path / "a.ts", 48, codec=codec, options=options)
    without_times(path, keep)
    sample = sample_frames(path, 16)
    with opened(path) as video:
        timeline = from_packets(video)
    assert timeline
    np.testing.assert_array_equal(np.diff(timeline.times), 90_000 // FPS)
    assert indices(sample.frames) == [(1 + 3 * number) % 25 for number in range(16)]
    assert all(sample.exact)
    assert sample.duration_s == pytest.approx(48 / FPS)


def packed(path: Path) -> Path:
    """As DivX wrote it: a frame that is shown later and the one before it are in one packet, and
    the next packet says that nothing changes."""
    plain = film(path.with_name("plain.avi"), 47, codec="mpeg4", options=SHARP | {"bf": "1"})
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        bodies = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        program = bodies[0].index(b"\0\0\1\xb2") + 4
        bodies[0] = b"DivX503b1393p".join(
            (bodies[0][:program], bodies[0][bodies[0].index(b"\0\0\1", program) :])
        )
        both = [bodies[0]]
        for at in range(1, len(bodies) - 1, 2):
            both += [bodies[at] + bodies[at + 1], b""]
        both += bodies[len(both) :]
        for number, body in enumerate(both):
            nothing = int(f"0101{number % FPS:05b}10".ljust(16, "1"), 2).to_bytes(2, "big")
            packet = av.Packet(body or b"\0\0\1\xb6" + nothing)
            packet.stream, packet.time_base = stream, Fraction(1, FPS)
            packet.pts = packet.dts = number
            packet.is_keyframe = number == 0
            target.mux(packet)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: film(path, 47, codec="mpeg4", options=SHARP | {"bf": "2"}),
        lambda path: film(path, 47, codec="mpeg4", options=SHARP),
        lambda path: film(path, 47, codec="libx264"),
        packed,
    ],
    ids=["b-frames", "none", "h264", "packed"],
)
def test_an_avi_is_read_by_the_order_of_decoding(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "a.avi")
    sample = sample_frames(path, 47)
    assert indices(sample.frames) == [number % 25 for number in range(47)]
    assert sample.timestamps_s == pytest.approx([number / FPS for number in range(47)], abs=1e-6)
    assert all(sample.exact)
    assert (sample.duration_s, sample.damaged) == (pytest.approx(47 / FPS), "")
    # One at a time, each after a seek.
    with opened(path) as video:
        sampler = Sampler(video, path.stat().st_size, Limits(), lambda: None)
        alone = [
            sampler.sample(Request(1, window_s=(number / FPS, (number + 1) / FPS)))
            for number in range(0, 47, 5)
        ]
    assert [indices(one.frames)[0] for one in alone] == [number % 25 for number in range(0, 47, 5)]


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "3"}])
def test_no_frame_of_a_slow_film_is_dropped(tmp_path: Path, options: dict[str, str]) -> None:
    path = film(tmp_path / "slow.mkv", 20, fps=Fraction(1, 10), options=options)
    sample = sample_frames(path, 20)
    assert indices(sample.frames) == list(range(20))
    assert sample.timestamps_s == pytest.approx([10 * number for number in range(20)])


def test_the_last_frame_of_each_recording_is_seen(tmp_path: Path) -> None:
    """Also if the next one is of another size, which makes the decoder begin anew."""
    path = tmp_path / "joined.mpg"
    parts = (
        film(tmp_path / f"{size}.mpg", 12, codec="mpeg2video", size=(size, 64)) for size in (96, 64)
    )
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with opened(path) as video:
        timeline = from_packets(video)
        video.rewind()
        shown = [
            (frame.pts, frame.width)
            for packet in video.packets()
            for frame in video.frames(packet.decode)
        ]
    assert timeline
    assert [time for time, _ in shown] == timeline.times.tolist()
    assert [width for _, width in shown] == [96] * 12 + [64] * 12


def test_an_mp4_with_b_frames_lasts_until_its_last_picture_ends(tmp_path: Path) -> None:
    """Its packets say how long they are decoded; the last one need not hold the last frame."""
    path = tmp_path / "a.mp4"
    for times, options in (
        ([0, 1, 2, 7, 8, 14, 15, 30, 31, 40], {"bf": "3", "b_strategy": "0"}),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], {"bf": "3", "b_strategy": "0"}),
    ):
        path.write_bytes(encoded("mp4", frames=10, times=times, holds=9, options=options))
        assert sample_frames(path, 4).duration_s == pytest.approx((times[-1] + 9) / 24)


def test_of_two_packets_with_one_time_neither_is_believed() -> None:
    """As FFmpeg tells where packets of MPEG-PS end amidst pictures; each frame has its turn."""
    numbers, told = np.arange(8), np.array([0, 40, 80, 160, 160, 200, 240, 280])
    assert sorted(untrue(numbers, told)) == [3, 4]
    own = np.delete(numbers, [3, 4])
    times = filled(own, told[own], 8, 40)
    assert times.tolist() == [0, 40, 80, 120, 160, 200, 240, 280]
    frames = [SimpleNamespace(pts=None if number in (3, 4) else told[number]) for number in numbers]
    clock, before = Clock(times, counts=True), None
    for frame, time in zip(frames, times, strict=True):
        before = clock.time_of(frame, before)
        assert before == time
