"""What is fetched of a remote video, in which requests, and how it is kept."""

import itertools
import os
import resource
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import OutOfResources, StoreUnavailable, TooLarge
from tests.videos import faststart, write_clip
from tests.waiting import wait_until
from workers.video.byte_plan import merged, read_index
from workers.video.container import VideoFile
from workers.video.packet_times import from_packets
from workers.video.source import Source
from workers.video.spool import (
    BLOCK_BYTES,
    END_PART_BYTES,
    HEAD_BYTES,
    LEAST_PART_BYTES,
    PART_BYTES,
    SMALL_BYTES,
    Spool,
)
from workers.video.timeline import from_index

BLOCK, PART = BLOCK_BYTES, PART_BYTES
LARGE = 8 * SMALL_BYTES + 40 * BLOCK + 17


class Remote:
    """Bytes that are a function of where they are, and a log of the requests."""

    def __init__(self, size_bytes: int) -> None:
        self.source = Source("remote.mp4", size_bytes, self.fetch)
        self.requests: list[tuple[int, int]] = []
        self.go = threading.Event()
        self.go.set()

    def fetch(self, start: int, end: int) -> bytes:
        self.requests.append((start, end))
        self.go.wait(10)
        return self.at(start, end)

    def at(self, start: int, end: int) -> bytes:
        return (np.arange(start, end) // 251).astype(np.uint8).tobytes()


@pytest.fixture
def spool() -> Iterator[Spool]:
    spool = Spool(None, 4, 1 << 30)
    yield spool
    spool.close()


def read(spool: Spool, start: int, end: int) -> bytes:
    assert spool.wait(start, end, lambda: None) >= end
    return os.pread(spool.fd, end - start, start)


@pytest.mark.parametrize(("connections", "requests"), [(24, 5), (4, 3), (1, 2)])
def test_a_small_object_is_fetched_at_once_and_whole(connections: int, requests: int) -> None:
    """Spread over its connections, as long as the parts are worth a request."""
    remote = Remote(PART + 1000)
    spool = Spool(None, connections, 1 << 30)
    spool.begin(remote.source, 8)
    assert read(spool, PART - 5, PART + 1000) == remote.at(PART - 5, PART + 1000)
    assert len(remote.requests) == requests
    assert min(end - start for start, end in remote.requests[:-1]) >= LEAST_PART_BYTES
    assert spool.whole
    assert spool.fetched_bytes == PART + 1000
    spool.close()


def test_of_a_large_one_the_ends_come_first_and_then_what_was_planned(spool: Spool) -> None:
    remote = Remote(LARGE)
    spool.begin(remote.source, 8)
    at = 20 * BLOCK + 5
    spool.plan([(at, at + 10), (at + BLOCK, at + 3 * BLOCK)])
    assert read(spool, at, at + 10) == remote.at(at, at + 10)
    spool.wait(at + 3 * BLOCK - 5, at + 3 * BLOCK, lambda: None)
    last = LARGE // BLOCK * BLOCK
    # One run, for the second block follows the first; the tail is in two blocks.
    assert sorted(remote.requests) == [
        *((start, start + END_PART_BYTES) for start in range(0, HEAD_BYTES, END_PART_BYTES)),
        (20 * BLOCK, 24 * BLOCK),
        (last - BLOCK, LARGE),
    ]
    assert not spool.whole


def test_whoever_needs_most_of_it_gets_all_of_it_in_parts(spool: Spool) -> None:
    remote = Remote(LARGE)
    spool.begin(remote.source, 8)
    spool.plan([(0, int(0.61 * LARGE))])
    spool.wait(0, LARGE, lambda: None)
    assert spool.whole
    assert spool.fetched_bytes == LARGE
    assert max(end - start for start, end in remote.requests) <= PART


def test_what_many_frames_are_wanted_of_is_small_sooner(spool: Spool) -> None:
    remote = Remote(LARGE)
    spool.begin(remote.source, 32)
    assert spool.whole


def test_an_index_in_many_pieces_is_not_searched_for_ever(spool: Spool) -> None:
    remote = Remote(LARGE)
    spool.begin(remote.source, 8)
    for piece in range(10):
        read(spool, (7 + 3 * piece) * BLOCK, (7 + 3 * piece) * BLOCK + 8)
    assert spool.whole


def test_who_reads_on_before_the_plan_is_read_ahead_for(spool: Spool) -> None:
    remote = Remote(LARGE)
    spool.begin(remote.source, 8)
    for block in range(1, 14):
        read(spool, block * BLOCK, block * BLOCK + 8)
    assert not spool.whole
    ends = HEAD_BYTES // END_PART_BYTES + 1
    assert len(remote.requests) - ends <= 5


def test_more_than_the_bound_is_refused_before_it_is_fetched() -> None:
    spool = Spool(None, 4, 8 * BLOCK)
    remote = Remote(LARGE)
    spool.begin(remote.source, 8)
    with pytest.raises(TooLarge, match="remote") as caught:
        spool.wait(9 * BLOCK, 14 * BLOCK, lambda: None)
    assert caught.value.evidence["max_video_bytes"] == 8 * BLOCK
    # What was read can be given back, and then there is room.
    for start, end in (0, HEAD_BYTES), (LARGE - 10, LARGE):
        spool.wait(start, end, lambda: None)
    assert os.fstat(spool.fd).st_blocks * 512 > 7 * BLOCK
    spool.forget()
    read(spool, 9 * BLOCK, 12 * BLOCK)
    assert os.fstat(spool.fd).st_blocks * 512 <= 4 * BLOCK
    with pytest.raises(TooLarge):
        spool.plan(None)
    spool.close()


def test_a_size_that_a_server_makes_up_costs_nothing() -> None:
    spool = Spool(None, 4, 1 << 30)
    spool.begin(Source("huge.mkv", 4 << 40, lambda start, end: bytes(end - start)), 8)
    tracemalloc.start()
    with pytest.raises(TooLarge, match="huge"):
        spool.plan(None)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    spool.close()


def test_what_was_planned_before_makes_room_when_it_must() -> None:
    spool = Spool(None, 4, 16 * BLOCK)
    remote = Remote(LARGE)
    spool.begin(remote.source, 8)
    first, second = (10 * BLOCK, 14 * BLOCK), (20 * BLOCK, 30 * BLOCK)
    assert spool.plan([first])
    spool.wait(*first, lambda: None)
    assert spool.plan([first])
    before = len(remote.requests)
    assert not spool.plan([second])
    assert read(spool, *second) == remote.at(*second)
    assert read(spool, *first) == remote.at(*first)
    assert len(remote.requests) > before + 1  # the first ones once more
    with pytest.raises(TooLarge):
        spool.plan([(0, 17 * BLOCK)])
    spool.close()


def test_a_request_that_hangs_holds_up_nothing_of_the_next_video(spool: Spool) -> None:
    late = Remote(LARGE)
    late.go.clear()
    spool.begin(late.source, 8)
    spool.plan(None)
    wait_until(lambda: len(late.requests) == 4, 10, "all connections to be taken")
    spool.end()
    small = Remote(BLOCK)
    spool.begin(small.source, 8)
    reader = threading.Thread(target=read, args=(spool, 0, BLOCK), daemon=True)
    reader.start()
    reader.join(5)
    assert not reader.is_alive()
    assert len(late.requests) == 4
    late.go.set()


def test_a_full_disk_is_no_fault_of_the_video(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(OutOfResources):
        Spool(tmp_path / "nowhere", 4, 1 << 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    remote = Remote(BLOCK)
    remote.go.clear()
    spool.begin(remote.source, 8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        remote.go.set()
        with pytest.raises(OutOfResources, match="large"):
            spool.wait(0, BLOCK, lambda: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_answer_to_the_video_before_does_not_get_into_this_one(spool: Spool) -> None:
    late = Remote(BLOCK)
    late.go.clear()
    spool.begin(late.source, 8)
    while not late.requests:
        threading.Event().wait(0.01)
    spool.begin(Source("zeros", BLOCK, lambda start, end: bytes(end - start)), 8)
    late.go.set()
    for _ in range(10):
        assert read(spool, 0, BLOCK) == bytes(BLOCK)
        time.sleep(0.03)


def test_an_answer_of_another_length_is_the_stores_fault(spool: Spool) -> None:
    spool.begin(Source("short", 100, lambda start, end: b"short"), 8)
    with pytest.raises(StoreUnavailable, match="5 bytes came of 100"):
        spool.wait(0, 10, lambda: None)


def test_waiting_can_be_ended(spool: Spool) -> None:
    remote = Remote(BLOCK)
    remote.go.clear()
    spool.begin(remote.source, 8)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        spool.wait(0, 10, stop)
    remote.go.set()


def test_the_file_has_no_name(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 4, 1 << 20)
    spool.begin(Remote(1000).source, 8)
    assert list(tmp_path.iterdir()) == []
    spool.close()


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12))
def test_merged_ranges_cover_the_same_and_are_apart(pieces: list[tuple[int, int]]) -> None:
    ranges = [(start, start + length) for start, length in pieces]
    found = merged(ranges)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    covered = {at for start, end in ranges for at in range(start, end)}
    assert {at for start, end in found for at in range(start, end)} == covered


def test_the_plan_holds_the_frames_that_are_wanted_and_little_else(tmp_path: Path) -> None:
    clip = faststart(tmp_path / "b.mp4", write_clip(tmp_path / "a.mp4", 240, gop=24))
    with VideoFile(str(clip), "b.mp4", lambda size: b"") as video:
        timeline = from_index(video)
        assert timeline
        entries = list(video.stream.index_entries)
        targets = [int(timeline.times[i]) for i in (30, 200)]
        index = read_index(video.stream, timeline)
    assert index
    ranges = index.plan(targets)
    assert len(ranges) == 2
    for index, (start, end) in zip((30, 200), ranges, strict=True):
        key = max(i for i in range(index + 1) if entries[i].is_keyframe)
        assert start <= entries[key].pos
        assert entries[index].pos + entries[index].size <= end
    planned = sum(end - start for start, end in ranges)
    assert planned < 0.4 * sum(entry.size for entry in entries)


def test_without_an_index_anything_may_be_needed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", 24)
    with VideoFile(str(clip), "a.mkv", lambda size: b"") as video:
        timeline = from_packets(video)
        assert timeline
        assert read_index(video.stream, timeline) is None
