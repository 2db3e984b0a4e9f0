"""Decoding in processes that can be killed: what one does never reaches its neighbours."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import psutil
import pytest

from shared.errors import (
    DecoderDied,
    JamakError,
    LeaseLost,
    OutOfResources,
    StoreUnavailable,
    TooLarge,
    TooSlow,
)
from tests.container_edits import clap, pasp, with_box, with_matrix
from tests.decoders import decoder_processes, standing_by
from tests.hostile.files import encoded
from tests.videos import write_clip
from tests.waiting import wait_until
from workers.progress import Progress
from workers.video import process as process_module
from workers.video.decoder import AFTER_ALL_S
from workers.video.pool import DecoderPool, connections_each
from workers.video.sampling import Limits, Request, sample_frames
from workers.video.shape import Shape
from workers.video.source import Source, file_source
from workers.video.spool import Spool
from workers.video.tracks import ALONE, Track

PYTHON = sys.executable
"""Before a test puts another program in its place."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", 48)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """One for all tests that want no limits of their own: a process takes a fifth of a second of
    CPU to start."""
    pool = DecoderPool(2)
    yield pool
    pool.close()


def test_a_codec_is_called_by_its_name_and_not_by_its_decoders(
    pool: DecoderPool, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(encoded("mp4", "libsvtav1", 2, options={"preset": "12"}))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "libdav1d"
    with pool.open(file_source(path), Progress()) as video:
        assert video.info.codec == "av1"


def test_a_decoder_cuts_widens_and_turns_as_this_process_does(
    pool: DecoderPool, clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.mp4"
    content = with_box(clip.read_bytes(), b"avc1", clap(48, 32) + pasp(2, 1))
    path.write_bytes(with_matrix(content, b"tkhd", (0, 1, -1, 0)))
    with pool.open(file_source(path), Progress()) as video:
        there = video.sample(Request(4))
    here = sample_frames(path, 4)
    assert there.frames.shape == (4, 96, 32, 3)
    assert np.array_equal(there.frames, here.frames)
    assert (there.track, there.aspect) == (here.track, here.aspect) == (Track(0, 1, ALONE), 0.3333)


def first_frames(pool: DecoderPool, path: Path) -> np.ndarray:
    with pool.open(file_source(path), Progress()) as video:
        return video.sample(Request(4)).frames


def test_the_frames_are_those_of_a_decoder_in_this_process(pool: DecoderPool, clip: Path) -> None:
    with pool.open(file_source(clip), Progress()) as video:
        assert (video.info.codec, video.info.frames, video.info.duration_s) == ("h264", 48, 4.0)
        whole, part = video.sample(Request(4)), video.sample(Request(2, window_s=(1.0, 2.0)))
        small = video.sample(Request(4, shape=Shape(16, 16)))
    here = sample_frames(clip, 4)
    assert np.array_equal(whole.frames, here.frames)
    assert vars(whole) | {"frames": 0} == vars(here) | {"frames": 0}
    assert part.timestamps_s == pytest.approx((1.25, 1.75))
    assert small.frames.shape == (4, 16, 16, 3)
    kept = standing_by()  # for the next video
    first_frames(pool, clip)
    assert standing_by() == kept


def test_each_video_has_a_process_that_has_seen_no_other(pool: DecoderPool, clip: Path) -> None:
    seen, stood_by = [], set()
    for _ in range(3):
        with pool.open(file_source(clip), Progress()) as video:
            seen += decoder_processes()
            stood_by.add(video.decoder.pid)
            video.sample(Request(4))
            assert decoder_processes() == seen[-1:]  # of all that is asked of this one
    assert (len(set(seen)), len(stood_by)) == (3, 1)


def test_all_come_up_before_there_is_a_video(clip: Path) -> None:
    others = {one.pid for one in standing_by()}
    pool = DecoderPool(2)
    pool.bring_up()
    here = {one.pid for one in standing_by()} - others
    with (
        pool.open(file_source(clip), Progress()) as one,
        pool.open(file_source(clip), Progress()) as other,
    ):
        assert {one.decoder.pid, other.decoder.pid} == here
    pool.bring_up()
    assert {one.pid for one in standing_by()} - others == here
    pool.close()


def test_one_that_dies_is_replaced_and_asked_again(pool: DecoderPool, clip: Path) -> None:
    with pool.open(file_source(clip), Progress()) as video:
        before = len(standing_by())
        (decoder,) = decoder_processes()
        decoder.kill()
        assert len(video.sample(Request(4)).frames) == 4
    assert len(standing_by()) == before


def test_one_that_was_killed_for_a_request_is_replaced_for_the_next(
    pool: DecoderPool, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "SILENT_S", 0.5)
    with pool.open(file_source(clip), Progress()) as video:
        decoder_processes()[0].suspend()
        with pytest.raises(TooSlow):
            video.sample(Request(4))
        assert len(video.sample(Request(4)).frames) == 4
        assert video.fetched_bytes == 2 * clip.stat().st_size
    assert len(first_frames(pool, clip)) == 4


def test_one_that_died_while_idle_counts_against_no_video(clip: Path) -> None:
    pool = DecoderPool(1)
    with pool.open(file_source(clip), Progress()) as video:
        idle = psutil.Process(video.decoder.pid)
    idle.kill()
    wait_until(lambda: idle.status() == psutil.STATUS_ZOMBIE, 10, "its end")
    killed = []

    def deadly_once(start: int, end: int) -> bytes:
        if not killed:
            wait_until(lambda: bool(decoder_processes()), 10, "the copy")
            killed.append(decoder_processes()[0].kill())
        return file_source(clip).fetch(start, end)

    source = Source("unlucky.mp4", clip.stat().st_size, deadly_once)
    with pool.open(source, Progress()) as video:
        assert len(video.sample(Request(4)).frames) == 4
    assert killed
    pool.close()


def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """What stands by from now on: Python, with `control` to its parent.

    `line` says something there; `copied` is the socket for a video, and `say` is for that."""
    program = tmp_path / "decoder"
    program.write_text(
        f"#!{PYTHON} -S\nimport os, json, socket, struct, sys, time\n"
        "control = socket.socket(fileno=int(sys.argv[3]))\n"
        "def line(**told): control.sendall(json.dumps(told).encode() + b'\\n')\n"
        "def copied():\n"
        "    _, (fd,), _, _ = socket.recv_fds(control, 1, 1)\n"
        "    return socket.socket(fileno=fd)\n"
        "def say(size, text): end.sendall(struct.pack('!i', size) + text)\n"
        f"{script}\ntime.sleep(600)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(process_module.sys, "executable", str(program))


COPIED = "line(up=dict(user='', refused=[], why=''))\nend = copied()\nend.recv(1)\n"


STARTS = {
    "silent": "",
    "ends": "sys.exit(1)",
    "half a word": "control.sendall(b'half')",
    "closes": "control.close()",
}


def test_one_that_does_not_come_up_is_no_fault_of_the_video(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = DecoderPool(1)
    found = {}
    with monkeypatch.context() as patched:
        patched.setattr(process_module, "START_S", 0.5)
        patched.setattr(process_module, "SILENT_S", 1.0)
        patched.setattr(process_module, "GONE_S", 0.2)
        for name, script in STARTS.items():
            instead(tmp_path, patched, script)
            found[name] = outcome(pool, clip)
        patched.setattr(process_module.sys, "executable", "/nowhere/python")
        found["is not there"] = outcome(pool, clip)
    assert found == dict.fromkeys([*STARTS, "is not there"], OutOfResources)
    assert len(first_frames(pool, clip)) == 4
    pool.close()


WORDS = {
    "much": "say(2 << 20, bytes(2 << 20))",
    "half a word": "say(100, b'half')",
    "closes": "end.close()",
    "nonsense": "say(4, b'what')",
    "a list": "say(2, b'[]')",
    "words": 'say(47, b\'{"kind": "plan", "ranges": [[0, "a"]], "extra": 1}\')',
    "too little": 'say(32, b\'{"kind": "opened", "frames": 1 }\')',
    "no error": 'say(33, b\'{"kind": "error", "error": "log" }\')',
}


def test_one_that_a_video_has_taken_over_is_ended(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = DecoderPool(1)
    found = {}
    with monkeypatch.context() as patched:
        patched.setattr(process_module, "SILENT_S", 1.0)
        patched.setattr(process_module, "GONE_S", 0.2)
        for name, script in WORDS.items():
            instead(tmp_path, patched, f"{COPIED}{script}")
            since = time.monotonic()
            found[name] = outcome(pool, clip)
            assert time.monotonic() - since < 100  # of its 600
            program = str(tmp_path / "decoder")
            assert not [one for one in psutil.Process().children() if program in one.cmdline()]
    assert found == dict.fromkeys(WORDS, DecoderDied)
    assert len(first_frames(pool, clip)) == 4
    pool.close()


def outcome(pool: DecoderPool, clip: Path) -> type[Exception] | None:
    """What comes of a video."""
    try:
        first_frames(pool, clip)
    except JamakError as error:
        return type(error)
    return None


def test_a_full_disk_is_no_fault_of_the_video(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(1)
    with monkeypatch.context() as patched:
        patched.setattr(
            process_module,
            "tempfile",
            SimpleNamespace(TemporaryFile=lambda dir: Path("/dev/full").open("r+b")),  # noqa: SIM115
        )
        with pool.open(file_source(clip), Progress()) as video:
            with pytest.raises(OutOfResources, match="No space left"):
                video.sample(Request(4))
            assert len(video.changes()[0]) > 0  # takes no pictures
    assert len(first_frames(pool, clip)) == 4
    pool.close()


def test_a_disk_that_breaks_at_the_end_costs_no_decoder(
    pool: DecoderPool, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(spool: Spool) -> None:
        raise OutOfResources("the disk")

    with monkeypatch.context() as patch, pool.open(file_source(clip), Progress()) as video:
        patch.setattr(Spool, "forget", broken)
        pid = video.decoder.pid
    assert not psutil.pid_exists(pid)
    assert len(first_frames(pool, clip)) == 4


def test_a_slow_server_holds_up_no_other_video(pool: DecoderPool, clip: Path) -> None:
    go = threading.Event()

    def slow(start: int, end: int) -> bytes:
        go.wait(20)
        return bytes(end - start)

    waiting = Progress()
    with ThreadPoolExecutor(1) as other:
        held_up = other.submit(_open, pool, Source("slow.mp4", 1 << 30, slow), waiting)
        wait_until(lambda: waiting.stage == "download", 10, "the wait")
        assert len(first_frames(pool, clip)) == 4
        waiting.stop(LeaseLost("somebody else has it"))
        with pytest.raises(LeaseLost):
            held_up.result(10)
        # Its requests cannot be stopped; they hold up nobody either.
        for _ in range(2):
            assert len(first_frames(pool, clip)) == 4
        assert not go.is_set()
        go.set()


def _open(pool: DecoderPool, source: Source, progress: Progress) -> None:
    with pool.open(source, progress):
        pass


def test_a_video_that_kills_two_is_rejected_and_the_pool_heals(
    pool: DecoderPool, clip: Path
) -> None:
    def deadly(start: int, end: int) -> bytes:
        wait_until(lambda: bool(decoder_processes()), 10, "the copy")
        for decoder in decoder_processes():
            decoder.send_signal(signal.SIGSEGV)
        return file_source(clip).fetch(start, end)

    source = Source("deadly.mp4", clip.stat().st_size, deadly)
    with (
        pytest.raises(DecoderDied, match=r"deadly.*SIGSEGV"),
        pool.open(source, Progress()) as video,
    ):
        video.sample(Request(4))
    assert len(first_frames(pool, clip)) == 4


def test_one_that_is_killed_twice_is_no_fault_of_the_video(pool: DecoderPool, clip: Path) -> None:
    """As the kernel does it, when the machine has no memory left."""

    def starving(start: int, end: int) -> bytes:
        wait_until(lambda: bool(decoder_processes()), 10, "the copy")
        for decoder in decoder_processes():
            decoder.kill()
        return file_source(clip).fetch(start, end)

    source = Source("unlucky.mp4", clip.stat().st_size, starving)
    with pytest.raises(OutOfResources, match="killed twice"):
        _open(pool, source, Progress())
    assert len(first_frames(pool, clip)) == 4


def test_a_stalled_one_is_killed_and_its_neighbour_never_notices(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "SILENT_S", 60.0)
    pool = DecoderPool(2, Limits(deadline_s=1.0))
    with ThreadPoolExecutor(1) as other, pool.open(file_source(clip), Progress()) as video:
        (decoder,) = decoder_processes()
        decoder.suspend()
        since = time.monotonic()
        neighbour = other.submit(lambda: [len(first_frames(pool, clip)) for _ in range(5)])
        with pytest.raises(TooSlow, match="killed"):
            video.sample(Request(4))
        assert time.monotonic() - since < 30  # of its 60 of silence
        assert neighbour.result(100) == [4] * 5
        assert not decoder.is_running()
    assert len(first_frames(pool, clip)) == 4
    pool.close()


def test_silence_is_shorter_than_the_deadline(
    pool: DecoderPool, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "SILENT_S", 0.5)
    with pool.open(file_source(clip), Progress()) as video:
        decoder_processes()[0].suspend()
        with pytest.raises(TooSlow, match="silent"):
            video.sample(Request(4))


def test_a_machine_that_stood_still_is_no_silence(
    pool: DecoderPool, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        ahead_s = 0.0

        def monotonic(self) -> float:
            return time.monotonic() + self.ahead_s

    clock = Clock()
    monkeypatch.setattr(process_module, "time", clock)
    with pool.open(file_source(clip), Progress()) as video, ThreadPoolExecutor(1) as other:
        (decoder,) = decoder_processes()
        decoder.suspend()
        sample = other.submit(video.sample, Request(4))
        time.sleep(0.5)
        clock.ahead_s = 100.0
        time.sleep(0.5)
        decoder.resume()
        assert len(sample.result(200).frames) == 4


@pytest.mark.parametrize("limits", [Limits(deadline_s=1e-6), Limits(cpu_s=1e-6)])
def test_time_is_looked_at_at_each_packet(clip: Path, limits: Limits) -> None:
    pool = DecoderPool(1, limits)
    with pytest.raises(TooSlow) as caught, pool.open(file_source(clip), Progress()) as video:
        video.sample(Request(4))
    assert caught.value.evidence["cpu_limit_s"] == limits.cpu_s
    pool.close()


def test_waiting_for_bytes_is_nobodys_fault(clip: Path) -> None:
    pool = DecoderPool(1, Limits(deadline_s=0.5))

    def slow(start: int, end: int) -> bytes:
        time.sleep(2.0)
        return file_source(clip).fetch(start, end)

    with pool.open(Source("slow", clip.stat().st_size, slow), Progress()) as video:
        assert len(video.sample(Request(4)).frames) == 4
    pool.close()


def test_memory_has_a_bound(tmp_path: Path, clip: Path) -> None:
    path = write_clip(tmp_path / "large.mp4", 3, size=(4096, 2304))
    pool = DecoderPool(1, memory_bytes=400 << 20)
    with (
        pytest.raises(TooLarge, match="400 MiB") as caught,
        pool.open(file_source(path), Progress()) as video,
    ):
        video.sample(Request(3))
    assert caught.value.evidence == {"memory_mib": 400}
    assert len(first_frames(pool, clip)) == 4
    pool.close()


def test_decoded_frames_have_a_bound_for_each_request(clip: Path) -> None:
    pool = DecoderPool(1, Limits(max_decoded=10))
    with pool.open(file_source(clip), Progress()) as video:
        pid = video.decoder.pid
        with pytest.raises(TooLarge, match=r"a\.mp4: more than 10 frames") as caught:
            video.sample(Request(4))
        assert caught.value.evidence == {"max_decoded_frames": 10}
        assert "JAMAK_MAX_DECODED_FRAMES" in caught.value.cure
        for _ in range(8):
            assert len(video.sample(Request(1, (0.0, 0.1))).frames) == 1
        assert video.decoder.pid == pid
    pool.close()


def test_videos_share_the_connections_of_their_worker() -> None:
    assert [connections_each(videos) for videos in (1, 4, 16, 100)] == [24, 24, 6, 4]
    decoder = DecoderPool(16).new_decoder(lambda stage: None)
    assert decoder.spool.connections == 6
    decoder.kill()


def test_what_goes_wrong_while_reading_comes_out_as_it_is(pool: DecoderPool, clip: Path) -> None:
    def fails(start: int, end: int) -> bytes:
        raise StoreUnavailable("503")

    with (
        pytest.raises(StoreUnavailable, match="503"),
        pool.open(Source("gone", 1000, fails), Progress()),
    ):
        pass
    assert len(first_frames(pool, clip)) == 4


def test_a_job_that_is_stopped_stops_its_decoder(pool: DecoderPool, clip: Path) -> None:
    progress = Progress()
    with pool.open(file_source(clip), progress) as video:
        (decoder,) = decoder_processes()
        progress.stop(LeaseLost("somebody else has it"))
        with pytest.raises(LeaseLost):
            video.sample(Request(4))
        assert not decoder.is_running()


def test_who_waits_for_a_decoder_is_as_alive_as_those_who_have_one(clip: Path) -> None:
    pool = DecoderPool(1)
    waiting = Progress()
    with ThreadPoolExecutor(1) as other, pool.open(file_source(clip), Progress()) as video:
        later = other.submit(lambda: _sample(pool, clip, waiting))
        wait_until(lambda: waiting.stage == "wait", 10, "the wait")
        still = waiting.pulse
        video.sample(Request(4))
        assert waiting.pulse != still
        assert not later.done()
    assert later.result(10) == 4
    pool.close()


def _sample(pool: DecoderPool, clip: Path, progress: Progress) -> int:
    with pool.open(file_source(clip), progress) as video:
        return len(video.sample(Request(4)).frames)


def test_the_kernel_bounds_the_cpu_of_each_request(clip: Path) -> None:
    pool = DecoderPool(1, Limits(cpu_s=7.0))
    with pool.open(file_source(clip), Progress()) as video:
        video.sample(Request(4))
        (decoder,) = decoder_processes()
        limits = Path(f"/proc/{decoder.pid}/limits").read_text()
        soft = int(limits.partition("Max cpu time")[2].split()[0])
        used_s = sum(decoder.cpu_times()[:2])
    assert 7 < soft <= used_s + 7 + AFTER_ALL_S + 1
    pool.close()


def test_a_decoder_ends_with_its_parent(pool: DecoderPool, clip: Path, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from workers.progress import Progress\n"
        "from workers.video.pool import DecoderPool\n"
        "from workers.video.source import file_source\n"
        "with DecoderPool(1, folder=Path(sys.argv[2])).open("
        "file_source(Path(sys.argv[1])), Progress()) as video:\n"
        "    print(video.decoder.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(clip), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not psutil.pid_exists(int(done.stdout)), 10, "its end")
    assert list(tmp_path.iterdir()) == []


def test_two_decoders_work_at_the_same_time(pool: DecoderPool, clip: Path) -> None:
    """Each waits until the other one has begun."""
    together = threading.Barrier(2, timeout=200)

    def fetch(start: int, end: int) -> bytes:
        together.wait()
        return file_source(clip).fetch(start, end)

    def sample(_: int) -> int:
        source = Source("together", clip.stat().st_size, fetch)
        with pool.open(source, Progress()) as video:
            return len(video.sample(Request(4)).frames)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(sample, range(2))) == [4, 4]


def test_a_long_index_is_not_refused_by_its_messages(pool: DecoderPool, tmp_path: Path) -> None:
    """A plan of many ranges is one message."""
    path = tmp_path / "keys.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 32, "yuv420p", 1
        dice = np.random.default_rng(1)
        for _ in range(600):
            picture = dice.integers(0, 255, (32, 32, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with pool.open(file_source(path), Progress()) as video:
        assert len(video.sample(Request(300)).frames) == 300
