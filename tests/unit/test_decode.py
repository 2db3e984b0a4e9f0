"""The frames that are returned are those of a plain decode from the first packet, bit for bit."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from infra.local.scheduling import take_turns_again
from shared.errors import NotAVideo
from tests.hostile.files import encoded
from workers.video.container import VideoFile
from workers.video.decode import Found, FrameReader
from workers.video.packet_times import from_packets
from workers.video.sampling import sample_frames
from workers.video.timeline import Timeline, from_index

SIZE = (192, 112)
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Made:
    """How a clip is encoded."""

    name: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    frames: int = 90
    pixels: str = "yuv420p"
    muxer: dict[str, str] = field(default_factory=dict)
    uneven: bool = False
    """A variable frame rate."""
    exact_index: bool = False
    """Its times come from the index alone."""


FAST = {"preset": "veryfast"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
CLIPS = [
    Made("long-gop.mp4", "libx264", {**FAST, "g": "250"}, exact_index=True),
    Made("short-gop.mp4", "libx264", {**FAST, "g": "20"}, exact_index=True),
    Made(
        "open-gop.mp4",
        "libx264",
        {**FAST, "g": "20", "x264-params": "open-gop=1:scenecut=0"},
        exact_index=True,
    ),
    Made("no-b.mp4", "libx264", {**FAST, "g": "30", "bf": "0"}, exact_index=True),
    Made("uneven.mp4", "libx264", {**FAST, "g": "30"}, uneven=True),
    Made("ten-bit.mp4", "libx264", {**FAST, "g": "30"}, pixels="yuv420p10le", exact_index=True),
    Made("interlaced.mp4", "libx264", {**FAST, "x264-params": "tff=1"}, exact_index=True),
    Made("hevc.mp4", "libx265", {"preset": "ultrafast", "g": "30", "x265-params": "log-level=0"}),
    Made("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "30"}),
    Made("av1.mp4", "libsvtav1", {"preset": "12", "g": "30"}),
    Made("prores.mov", "prores_ks", frames=30, pixels="yuv422p10le"),
    Made("mpeg4.avi", "mpeg4", {"g": "20"}),
    Made("alpha.mov", "qtrle", frames=30, pixels="argb"),
    Made("444.mkv", "libx264", {**FAST, "g": "30"}, pixels="yuv444p"),
    Made(
        "fragments.mp4",
        "libx264",
        {**FAST, "g": "30"},
        muxer={"movflags": "frag_keyframe+empty_moov"},
    ),
    Made("plain.mkv", "libx264", {**FAST, "g": "30"}),
    Made("stream.ts", "libx264", {**FAST, "g": "30"}),
    Made("hevc.ts", "libx265", {"preset": "ultrafast", "g": "30", "x265-params": "log-level=0"}),
    Made("dvd.mpg", "mpeg2video", {"g": "15", "bf": "2", "qmin": "1", "qmax": "1"}),
    Made("raw.h264", "libx264", {**FAST, "g": "30"}),
    Made("small.gif", "gif", frames=20, pixels="rgb8"),
]


def write(folder: Path, made: Made) -> Path:
    """A texture that moves, so that every frame is another one and none can be mistaken."""
    width, height = SIZE
    dice = np.random.default_rng(7)
    texture = dice.integers(0, 255, (height // 8 * 3, width // 8 * 3, 3), np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)
    path = folder / made.name
    with av.open(str(path), "w", options=made.muxer) as container:
        stream: Any = container.add_stream(made.codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, made.pixels
        stream.codec_context.time_base = Fraction(1, 30)
        stream.options = made.options
        for number in range(made.frames):
            x, y = 3 * number % width, 2 * number % height
            picture = np.ascontiguousarray(texture[y : y + height, x : x + width])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number + number // 4 * 2 if made.uneven else number
            frame.time_base = Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    take_turns_again()
    return path


def test_whoever_makes_a_video_leaves_the_machine_to_others(tmp_path: Path) -> None:
    write(tmp_path, next(one for one in CLIPS if one.codec == "libsvtav1"))
    encoded("mp4", "libsvtav1", frames=2, options={"preset": "12"})
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def plainly(path: Path, targets: list[int]) -> list[Picture]:
    """What is on screen at each target: every frame decoded, one after the other."""
    shown: list[Picture] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        before: Any = None
        for number, frame in enumerate(container.decode(stream)):
            now = number if frame.pts is None else frame.pts
            while len(shown) < len(targets) and now > targets[len(shown)]:
                shown.append(before.to_ndarray(format="rgb24"))
            before = frame
        while len(shown) < len(targets):
            shown.append(before.to_ndarray(format="rgb24"))
    return shown


def opened(path: Path) -> VideoFile:
    return VideoFile(str(path), path.name, lambda size: path.read_bytes()[:size])


def timeline_of(video: VideoFile) -> Timeline:
    timeline = from_index(video) or from_packets(video)
    assert timeline
    return timeline


@pytest.fixture(params=CLIPS, ids=lambda made: made.name)
def made(request: pytest.FixtureRequest) -> Made:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def clip(made: Made, tmp_path: Path) -> Iterator[Path]:
    yield write(tmp_path, made)


@pytest.mark.parametrize("n", [1, 5, 16, 200])
def test_frames_are_those_of_a_plain_decode(made: Made, clip: Path, n: int) -> None:
    with opened(clip) as video:
        timeline = timeline_of(video)
        targets = timeline.targets(n)
        assert len(timeline.times) == made.frames
        assert len(targets) == min(n, made.frames)
        reader = FrameReader(video, timeline, lambda: None)
        found = [
            (one.target, one.exact, one.frame.to_ndarray(format="rgb24"))
            for one in reader.read(targets)
        ]
    assert [target for target, _, _ in found] == targets
    assert all(exact for _, exact, _ in found)
    for (_, _, ours), theirs in zip(found, plainly(clip, targets), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert reader.tally.errors == reader.tally.again == 0
    if n == 16:
        assert sample_frames(clip, n).damaged == ""


def test_an_index_is_trusted_only_where_it_tells_when_frames_are_shown(
    made: Made, clip: Path
) -> None:
    with opened(clip) as video:
        indexed = from_index(video)
        told = from_packets(video)
    assert told
    if made.exact_index:
        assert indexed is not None
    if indexed is not None:
        np.testing.assert_array_equal(indexed.times, told.times)


@pytest.mark.parametrize(("hidden", "shown"), [(10, 80), (40, 50)])
def test_what_an_edit_list_hides_is_not_shown(tmp_path: Path, hidden: int, shown: int) -> None:
    """As a cut without encoding leaves it: packets before the beginning, for the decoder alone."""
    source, path = write(tmp_path, CLIPS[1]), tmp_path / "edited.mp4"
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(source)) as origin, av.open(str(path), "w", options=options) as container:
        stream = origin.streams.video[0]
        target = container.add_stream_from_template(stream)
        for packet in origin.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts -= round(hidden / stream.time_base / 30)
                packet.dts -= round(hidden / stream.time_base / 30)
                packet.stream = target
                container.mux(packet)
    with opened(path) as video:
        assert from_index(video) is None
        timeline = timeline_of(video)
        assert len(timeline.times) == shown
        targets = timeline.targets(9)
        found = list(FrameReader(video, timeline, lambda: None).read(targets))
        ours = [one.frame.to_ndarray(format="rgb24") for one in found]
    assert all(one.exact for one in found)
    np.testing.assert_array_equal(np.stack(ours), np.stack(plainly(path, targets)))
    assert sample_frames(path, 9).damaged == ""


@pytest.mark.parametrize("name", ["long-gop.mp4", "hevc.mp4", "dvd.mpg"])
def test_frames_between_targets_are_mostly_not_decoded(tmp_path: Path, name: str) -> None:
    made = next(made for made in CLIPS if made.name == name)
    decoded: list[int] = []
    for skip in (True, False):
        with opened(write(tmp_path, made)) as video:
            timeline = timeline_of(video)
            reader = FrameReader(video, timeline, lambda: None)
            reader._can_skip = skip
            list(reader.read(timeline.targets(4)))
            decoded.append(video.decoded)
    skipping, full = decoded
    assert skipping < 0.75 * full


def test_from_a_wrong_frame_on_the_group_is_decoded_again(tmp_path: Path) -> None:
    """As if skipping were not exact for this codec, from the third frame on."""
    path = write(tmp_path, CLIPS[0])
    with opened(path) as video:
        timeline = timeline_of(video)
        targets = timeline.targets(6)
        reader = FrameReader(video, timeline, lambda: None)
        honest = reader._from

        def lying(place: int | None, wanted: Any, *, skip: bool) -> Any:
            for one in honest(place, wanted, skip=skip):
                late = skip and one.target >= targets[2]
                yield Found(one.target, one.frame, one.time + late)
            return True

        reader._from = lying  # type: ignore[method-assign]
        found = [(one.target, one.frame.to_ndarray(format="rgb24")) for one in reader.read(targets)]
    assert reader.tally.again == 1
    assert [target for target, _ in found] == targets
    np.testing.assert_array_equal(
        np.stack([picture for _, picture in found]), np.stack(plainly(path, targets))
    )


def test_a_frame_is_given_before_the_next_is_decoded(tmp_path: Path) -> None:
    """Of a group of hundreds, no more than two are ever held."""
    with opened(write(tmp_path, CLIPS[0])) as video:
        timeline = timeline_of(video)
        reader = FrameReader(video, timeline, lambda: None)
        decoded = [video.decoded for _ in reader.read(timeline.targets(4))]
    assert decoded == sorted(set(decoded))


@pytest.mark.parametrize("name", ["long-gop.mp4", "hevc.mp4"])
def test_nothing_is_decoded_after_the_last_target(tmp_path: Path, name: str) -> None:
    """The second frame takes the first one, what it refers to and no more."""
    with opened(write(tmp_path, next(made for made in CLIPS if made.name == name))) as video:
        timeline = timeline_of(video)
        reader = FrameReader(video, timeline, lambda: None)
        (found,) = reader.read([int(timeline.times[1])])
    assert found.exact
    assert video.decoded <= 6


def test_a_picture_that_is_refreshed_bit_by_bit_is_decoded_from_further_back(
    tmp_path: Path,
) -> None:
    options = {**FAST, "g": "10", "intra-refresh": "1", "bf": "0"}
    path = write(tmp_path, Made("refreshed.mp4", "libx264", options, frames=30))
    sample = sample_frames(path, 5)
    assert len(sample.frames) == 5
    assert all(sample.exact)
    assert not sample.damaged


def test_closed_groups_are_sought_and_open_ones_run_through(tmp_path: Path) -> None:
    """Targets on both sides of each keyframe."""
    groups = {}
    for name in ("short-gop.mp4", "open-gop.mp4"):
        path = write(tmp_path, next(made for made in CLIPS if made.name == name))
        with opened(path) as video:
            timeline = timeline_of(video)
            places = np.searchsorted(timeline.times, timeline.keys)
            assert len(places) > 3
            around = [place + beside for place in places[1:] for beside in (-1, 1)]
            targets = [int(timeline.times[place]) for place in around]
            reader = FrameReader(video, timeline, lambda: None)
            found = [one.frame.to_ndarray(format="rgb24") for one in reader.read(targets)]
        np.testing.assert_array_equal(np.stack(found), np.stack(plainly(path, targets)))
        groups[name] = reader.tally.groups - len(places)
    assert groups["short-gop.mp4"] == 0
    assert groups["open-gop.mp4"] < 0


@pytest.mark.parametrize(
    ("name", "decodes"),
    [
        ("long-gop.mp4", False),
        ("uneven.mp4", False),
        ("fragments.mp4", True),
        ("plain.mkv", True),
        ("stream.ts", False),
        ("hevc.ts", False),
        ("vp9.webm", False),
    ],
)
def test_a_picture_is_decoded_at_opening_only_where_its_order_is_not_told(
    tmp_path: Path, name: str, decodes: bool
) -> None:
    """Without the order of its pictures H.264 would come out of its decoder in another one."""
    with opened(write(tmp_path, next(made for made in CLIPS if made.name == name))) as video:
        context = video.stream.codec_context
        assert (context.format is not None) is decodes
        assert context.has_b_frames is (context.name in ("h264", "hevc"))
        assert (context.width, context.height) == SIZE


@pytest.mark.parametrize("name", ["av1.mp4", "vp9.webm", "long-gop.mp4"])
def test_decoding_takes_one_thread(tmp_path: Path, name: str) -> None:
    """Many videos are decoded at once; dav1d would take a thread a core for each."""
    path = write(tmp_path, next(made for made in CLIPS if made.name == name))
    threads = Path("/proc/self/task")
    before = len(list(threads.iterdir()))
    with opened(path) as video:
        timeline = timeline_of(video)
        targets = timeline.targets(3)
        frames = FrameReader(video, timeline, lambda: None).read(targets)
        assert [len(list(threads.iterdir())) for _ in frames] == [before] * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", "ffconcat version 1.0\nfile '{other}'\n"),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        ("a.mpd", '<MPD type="static"><Period><BaseURL>{other}</BaseURL></Period></MPD>'),
    ],
)
def test_what_names_other_files_is_no_video(tmp_path: Path, name: str, text: str) -> None:
    other = write(tmp_path, CLIPS[1])
    path = tmp_path / name
    path.write_text(text.format(other=other.name))
    for renamed in (path, path.with_suffix(".mp4")):
        renamed.write_text(text.format(other=other.name))
        with pytest.raises(NotAVideo):
            sample_frames(renamed, 4)
