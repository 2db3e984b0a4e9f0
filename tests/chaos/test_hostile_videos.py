"""Bad videos and good ones at once, through the decoders of a worker: each comes to its own end."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from shared.errors import JamakError, Reject
from tests.decoders import decoder_processes
from tests.hostile.corpus import make_corpus
from tests.hostile.mutated import mutated
from tests.videos import write_clip
from workers.progress import Progress
from workers.video.pool import DecoderPool
from workers.video.sampling import Limits, Request
from workers.video.shape import Shape
from workers.video.source import Source, file_source

DEADLINE_S, MEMORY = 4.0, 1 << 30
GOOD = 50


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(2, Limits(deadline_s=DEADLINE_S), MEMORY)
    yield pool
    pool.close()


class Watch:
    """The most that a decoder has had in memory, looked at ten times a second."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for decoder in decoder_processes():
                with suppress(psutil.NoSuchProcess):
                    self.peak_bytes = max(self.peak_bytes, decoder.memory_info().rss)


def outcome(pool: DecoderPool, source: Callable[[], Source]) -> tuple[str, float]:
    """What came of it, and in how many seconds."""
    began = time.monotonic()
    try:
        with pool.open(source(), Progress()) as video:
            taken = time.monotonic()
            sample = video.sample(Request(8, shape=Shape(64, 64)))
        whole = not sample.damaged and len(sample.frames) == sample.distinct
        return "ok" if whole else "partial", time.monotonic() - taken
    except JamakError as error:
        assert isinstance(error, Reject), error
        assert error.cure
        return error.reason, time.monotonic() - began


def test_each_bad_video_has_its_reason_and_no_good_one_suffers(
    pool: DecoderPool, tmp_path: Path
) -> None:
    expected: dict[str, frozenset[str]] = {}
    for one in make_corpus(tmp_path):
        expected[str(one.path)] = one.expect
    clip = write_clip(tmp_path / "good.mp4", 24)
    good = [str(clip)] * GOOD
    paths = [*expected, *good]
    random.Random(6).shuffle(paths)
    ends: list[tuple[str, str, float]] = []

    def work(path: str) -> None:
        ends.append((path, *outcome(pool, partial(file_source, Path(path)))))

    with Watch() as watch, ThreadPoolExecutor(2) as threads:
        list(threads.map(work, paths))
    wrong = [
        (Path(path).name, what)
        for path, what, _ in ends
        if what not in expected.get(path, frozenset({"ok"}))
    ]
    assert wrong == []
    assert sum(path == str(clip) and what == "ok" for path, what, _ in ends) == GOOD
    assert len(ends) == len(paths) > GOOD + 60
    assert max(seconds for _, _, seconds in ends) < DEADLINE_S + 20.0
    assert 0 < watch.peak_bytes < MEMORY


@pytest.mark.parametrize("mutants", [75, pytest.param(300, marks=pytest.mark.soak)])
def test_mutants_end_too(pool: DecoderPool, tmp_path: Path, mutants: int) -> None:
    kinds = {one.path.suffix: one.path for one in make_corpus(tmp_path) if one.expect == {"ok"}}
    sources = list(kinds.values())
    assert {".mp4", ".mkv", ".webm", ".ts"} <= set(kinds)

    def work(seed: int) -> float:
        content = mutated(sources[seed % len(sources)].read_bytes(), seed) or b"\0"
        source = Source(f"mutant {seed}", len(content), lambda start, end: content[start:end])
        return outcome(pool, lambda: source)[1]

    with ThreadPoolExecutor(2) as threads:
        assert max(threads.map(work, range(mutants))) < DEADLINE_S + 20.0
