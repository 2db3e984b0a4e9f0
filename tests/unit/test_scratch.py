"""A worker's own folder: taken from nobody, and swept when nobody owns it any more."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigError, OutOfResources
from tests.sick import full_disk
from workers.delivery.scratch import OWNER, Scratch

OWNED = """
import sys
from pathlib import Path
from workers.delivery.scratch import Scratch
made = Scratch(Path(sys.argv[1]))
(made.folder / "download").write_bytes(b"video")
print(made.folder, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_worker_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        (tmp_path / "jamak-of-others").mkdir()
        ours = Scratch(tmp_path)
        assert (left / "download").exists()
        assert ours.folder != left
        other.kill()
        other.wait()
    third = Scratch(tmp_path)
    assert not left.exists()
    assert {one.name for one in tmp_path.iterdir()} == {
        "jamak-of-others",
        ours.folder.name,
        third.folder.name,
    }
    ours.remove()
    assert not ours.folder.exists()


def test_what_was_removed_is_made_again_with_its_owner(tmp_path: Path) -> None:
    ours = Scratch(tmp_path / "not" / "there yet")
    shutil.rmtree(tmp_path / "not")
    with pytest.raises(FileNotFoundError, match="made again"):
        ours.prove()
    ours.prove()
    assert (ours.folder / OWNER).exists()
    Scratch(tmp_path / "not" / "there yet")
    assert ours.folder.exists()


def test_a_disk_that_takes_nothing_is_found_out(tmp_path: Path) -> None:
    ours = Scratch(tmp_path)
    with full_disk():
        with pytest.raises(OSError, match="large"):
            ours.prove()
        # At a start that may pass; a place where no folder can be never does.
        with pytest.raises(OutOfResources, match="no room"):
            Scratch(tmp_path)
    ours.prove()
    (tmp_path / "file").write_bytes(b"")
    for impossible in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="no folder") as caught:
            Scratch(impossible)
        assert "JAMAK_SCRATCH_DIR" in caught.value.cure
