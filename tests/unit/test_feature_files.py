"""Features on disk: what is found is what was kept, and it is never more than it may be."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from workers.train import feature_files
from workers.train.feature_files import FeatureFiles

OLD_S = 10_000.0


def key(number: int) -> str:
    return f"{number:064x}"


def features(number: int, frames: int = 2) -> torch.Tensor:
    return torch.full((frames, 4, 8), number, dtype=torch.bfloat16)


def size_of_one(folder: Path) -> int:
    FeatureFiles(folder, 1 << 20).keep(key(0), features(0))
    [path] = folder.iterdir()
    size = path.stat().st_size
    path.unlink()
    return size


def age(folder: Path, number: int, seconds: float) -> None:
    path = folder / f"{key(number)}.safetensors"
    used = path.stat().st_mtime - seconds
    os.utime(path, (used, used))


def test_what_is_kept_is_found_by_another_process_to_the_bit(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path / "a" / "b", 1 << 20)
    kept = torch.randn(3, 4, 8).to(torch.bfloat16)
    assert files.find(key(1)) is None and files.frames(key(1)) is None
    files.keep(key(1), kept)
    other = FeatureFiles(tmp_path / "a" / "b", 1 << 20)
    found = other.find(key(1))
    assert found is not None and torch.equal(found, kept) and found.dtype == kept.dtype
    assert other.frames(key(1)) == 3
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


def test_what_was_used_longest_ago_goes_and_what_this_process_used_stays(tmp_path: Path) -> None:
    one = size_of_one(tmp_path)
    before = FeatureFiles(tmp_path, 10 * one)
    for number in range(4):
        before.keep(key(number), features(number))
        age(tmp_path, number, OLD_S - number)
    files = FeatureFiles(tmp_path, 4 * one)
    assert files.frames(key(0)) == 2  # the oldest, but it is used now
    files.keep(key(4), features(4))
    files.keep(key(5), features(5))
    assert [files.find(key(number)) is not None for number in range(6)] == [
        *(True, False, False),
        *(True, True, True),
    ]
    files.keep(key(6), features(6))  # for the last that is old
    assert files.find(key(3)) is not None  # it was looked for just now
    assert files.find(key(6)) is None and files.full
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * one


def test_two_processes_share_one_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = size_of_one(tmp_path)
    monkeypatch.setattr(feature_files, "COUNT_AGAIN_S", 0.0)
    both = FeatureFiles(tmp_path, 5 * one), FeatureFiles(tmp_path, 5 * one)
    for number in range(8):
        both[number % 2].keep(key(number), features(number))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 5 * one


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty"])
def test_what_is_damaged_is_not_found_and_goes(tmp_path: Path, damage: str) -> None:
    files = FeatureFiles(tmp_path, 1 << 20)
    files.keep(key(1), features(1))
    path = tmp_path / f"{key(1)}.safetensors"
    body = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(body[:-5])
    elif damage == "flipped":
        body[-1] ^= 1
        path.write_bytes(body)
    elif damage == "other":
        save_file({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(b"")
    again = FeatureFiles(tmp_path, 1 << 20)
    if damage != "flipped":  # the content is not read for that
        assert again.frames(key(1)) is None
    assert again.find(key(1)) is None
    assert not path.exists()


def test_a_full_disk_ends_the_keeping_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FeatureFiles(tmp_path, 1 << 20)
    files.keep(key(1), features(1))

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    files.keep(key(2), features(2))
    assert files.full and files.find(key(2)) is None
    assert files.find(key(1)) is not None


def test_what_a_dead_process_left_half_written_goes(tmp_path: Path) -> None:
    for number, seconds in ((1, OLD_S), (2, 0.0)):
        part = tmp_path / f"{key(number)}.77.part"
        part.write_bytes(b"half")
        os.utime(part, (part.stat().st_mtime - seconds,) * 2)
    FeatureFiles(tmp_path, 1 << 20).keep(key(3), features(3))
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{key(2)}.77.part",  # somebody may be writing it
        f"{key(3)}.safetensors",
    }


def test_nothing_is_kept_where_nothing_may_be(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path / "none", 0)
    files.keep(key(1), features(1))
    assert files.full and files.find(key(1)) is None and files.frames(key(1)) is None
    assert not (tmp_path / "none").exists()
