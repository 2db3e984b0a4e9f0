"""How a test gets a program that pip does not have: out of a package, or told why not."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from infra import debian


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with no programs but the shell's; and an environment with none at all."""
    path = tmp_path / "path"
    path.mkdir()
    for name in ("sh", "cp", "rm", "tar"):
        found = shutil.which(name)
        assert found is not None
        (path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(debian, "BIN", tmp_path / "bin")
    (tmp_path / "bin").mkdir()
    return path


def test_where_there_is_no_apt_it_says_so_and_goes_on(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert debian.main() == 0
    assert "no apt here" in capsys.readouterr().out


def test_what_apt_says_is_told_and_tried_again_the_next_time(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(bare / "apt-get", "echo 'E: no such host' >&2; exit 100")
    program(bare / "dpkg-deb", "exit 1")
    assert debian.main() == 1
    assert "their tests are skipped: E: no such host" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="makes a package")
def test_a_package_is_unpacked_into_the_environment_and_fetched_once(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("dpkg-deb", path=os.defpath)
    assert real is not None
    made = tmp_path / "made"
    (made / "usr/bin").mkdir(parents=True)
    (made / "DEBIAN").mkdir()
    for name in ("prometheus", "promtool"):
        program(made / "usr/bin" / name, "exit 0")
    (made / "DEBIAN/control").write_text(
        "Package: prometheus\nVersion: 1\nArchitecture: all\nMaintainer: us\nDescription: ours\n"
    )
    with monkeypatch.context() as patch:
        patch.setenv("PATH", os.defpath)
        command = [real, "--root-owner-group", "-b", str(made), str(tmp_path / "its.deb")]
        subprocess.run(command, check=True, capture_output=True)
    (bare / "dpkg-deb").symlink_to(real)
    program(bare / "apt-get", f'[ "$4" = update ] || cp {tmp_path}/its.deb .')
    assert debian.main() == 0
    assert debian.find_program("promtool") == str(tmp_path / "bin/promtool")
    (bare / "apt-get").unlink()
    capsys.readouterr()
    assert debian.main() == 0
    assert capsys.readouterr().out == ""
