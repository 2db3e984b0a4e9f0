"""What becomes of an adapter that a worker cannot take: is it to blame, or this machine, now?"""

import errno
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import BadAdapter, NewerObject, StoreRefuses
from shared.training import Canary, Pointer
from shared.trials import TrialPage
from tests.work import Silent
from workers.jobs.adapters import AdapterFollower
from workers.jobs.trials import Trials
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IN_USE = Pointer(version="a" * 12, generation=1, updated_at=NOW)
CANARY = Pointer(
    version=None,
    generation=7,
    updated_at=NOW,
    canary=Canary(version="c" * 12, share=0.1, paired=True, since=NOW),
)
MAPPED = "unable to mmap 49427040 bytes from file <x>: Cannot allocate memory (12)"


class Registry:
    """With one version, whatever its name."""

    def __init__(self, pointer: Pointer) -> None:
        self._pointer = pointer
        self.fetched = 0

    def pointer(self, base: str) -> Pointer:
        return self._pointer

    def download(self, base: str, version: str, folder: Path) -> None:
        self.fetched += 1


class Choosy(Silent):
    """Takes no adapter until it does: `fails` at `reading` or at `using` it."""

    def __init__(self, at: str, fails: Exception | None) -> None:
        super().__init__()
        self._at, self.fails = at, fails

    def _may_fail(self, at: str) -> None:
        if at == self._at and self.fails is not None:
            raise self.fails

    def check_adapter(self, version: str, directory: Path) -> Adapter:
        self._may_fail("reading")
        return super().check_adapter(version, directory)

    def use_adapter(self, *args: Any) -> None:
        self._may_fail("using")
        super().use_adapter(*args)

    def try_adapter(self, *args: Any) -> None:
        self._may_fail("using")
        super().try_adapter(*args)


class Pages:
    last: TrialPage

    def write(self, page: TrialPage) -> None:
        self.last = page


def no_memory() -> Exception:
    """As torch says it on a CPU."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 46)
    return error.value


LACKING = [
    MemoryError(),
    OSError(errno.EMFILE, "Too many open files"),
    RuntimeError(MAPPED),
    no_memory(),
    RuntimeError("CUDA error: out of memory"),
]
PASSING = [
    *LACKING,
    StoreRefuses("no words that are known"),
    RuntimeError("nobody thought of it"),
]


@pytest.mark.parametrize("at", ["reading", "using"])
@pytest.mark.parametrize("error", PASSING, ids=lambda one: str(one)[:20])
def test_what_is_not_the_adapters_fault_is_tried_again(
    error: Exception, at: str, tmp_path: Path
) -> None:
    """A worker that starts waits for it: with the base model it would caption other than it is
    asked to."""
    registry, captioner = Registry(IN_USE), Choosy(at, error)
    follower = AdapterFollower(registry, captioner, "0" * 64, 1, tmp_path)  # type: ignore[arg-type]
    assert not follower.look()
    assert not follower.look()
    assert captioner.adapters == []
    captioner.fails = None
    assert follower.look()
    assert captioner.adapters == ["a" * 12]


@pytest.mark.parametrize("error", [BadAdapter("half a file"), NewerObject("by version 9")])
def test_what_is_is_refused_once(error: Exception, tmp_path: Path) -> None:
    registry, captioner = Registry(IN_USE), Choosy("reading", error)
    follower = AdapterFollower(registry, captioner, "0" * 64, 1, tmp_path)  # type: ignore[arg-type]
    assert follower.look()
    assert follower.look()
    assert (registry.fetched, captioner.adapters) == (1, [])


@pytest.mark.parametrize("at", ["reading", "using"])
@pytest.mark.parametrize("error", PASSING, ids=lambda one: str(one)[:20])
def test_nor_does_it_speak_against_a_canary(error: Exception, at: str, tmp_path: Path) -> None:
    captioner, pages = Choosy(at, error), Pages()
    trials = Trials(pages, "worker", pairs=True, every_s=5)  # type: ignore[arg-type]
    follower = AdapterFollower(
        Registry(CANARY),  # type: ignore[arg-type]
        captioner,
        "0" * 64,
        1,
        tmp_path,
        trials=trials,
    )
    assert follower.look()
    trials.write()
    assert (pages.last.refused, bool(pages.last.apart)) == ("", True)
    if error in LACKING and at == "reading":
        assert pages.last.apart.startswith("out_of_resources: ")
    captioner.fails = None
    assert follower.look()
    assert [one.version for one in captioner.tried] == ["c" * 12]
    trials.write()
    assert (pages.last.refused, pages.last.apart) == ("", "")


def test_a_canary_whose_files_are_lost_here_is_fetched_again(tmp_path: Path) -> None:
    """And the scratch folder, of which somebody thought that it is in the way, is made again."""
    scratch, pages = tmp_path / "scratch", Pages()
    scratch.mkdir()

    class Losing(Registry):
        def download(self, base: str, version: str, folder: Path) -> None:
            super().download(base, version, folder)
            if self.fetched == 1:
                shutil.rmtree(scratch)

    class Reading(Silent):
        def check_adapter(self, version: str, directory: Path) -> Adapter:
            if registry.fetched > 1:
                return super().check_adapter(version, directory)
            return read_adapter(version, directory, AdapterShape({}, {}, torch.float32))

    registry, captioner, trials = (
        Losing(CANARY),
        Reading(),
        Trials(pages, "worker", pairs=True, every_s=5),
    )  # type: ignore[arg-type]
    follower = AdapterFollower(
        registry,  # type: ignore[arg-type]
        captioner,
        "0" * 64,
        1,
        scratch,
        mend=scratch.mkdir,
        trials=trials,
    )
    follower.look()
    trials.write()
    assert pages.last.refused == ""
    assert "No such file" in pages.last.apart
    follower.look()
    assert [one.version for one in captioner.tried] == ["c" * 12]


def test_what_is_fetched_in_vain_is_fetched_less_and_less_often(tmp_path: Path) -> None:
    registry, captioner = Registry(IN_USE), Choosy("using", ValueError("nobody thought of it"))
    follower = AdapterFollower(registry, captioner, "b", 5.0, tmp_path)  # type: ignore[arg-type]
    pauses = [5.0]
    for _ in range(6):
        assert not follower.look()
        pauses.append(follower._pause_after(pauses[-1]))
    assert pauses == [5, 10, 20, 40, 60, 60, 60]
    captioner.fails = None
    assert follower.look()
    assert follower._pause_after(60.0) == 5.0
