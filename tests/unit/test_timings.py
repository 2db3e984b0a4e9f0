"""The table of what each file of tests takes."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

COMPUTES = """
import subprocess, sys

def test_a_child_computes():
    subprocess.run([sys.executable, "-c", "sum(range(5_000_000))"], check=True)
"""
RESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_nothing(number):
    pass

@pytest.mark.skip
def test_left_out():
    pass
"""


def run(folder: Path, *files: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.timings", "-p", "no:cacheprovider"]
        + [str(folder / file) for file in files],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_each_file_is_told_with_its_children_and_all_of_them_together(tmp_path: Path) -> None:
    (tmp_path / "test_computes.py").write_text(COMPUTES)
    (tmp_path / "test_rests.py").write_text(RESTS)
    said = run(tmp_path, "test_computes.py", "test_rests.py")
    table = re.findall(r"^ +([\d.]+) +([\d.]+) +(\d+)  (.*)$", said, re.MULTILINE)
    assert [(int(tests), what) for _, _, tests, what in table] == [
        (1, "test_computes.py"),
        (3, "test_rests.py"),
        (4, "all 2 files"),
    ]
    (_, computes, *_), (_, rests, *_), (wall, cpu, *_) = table
    assert float(computes) > float(rests)
    assert float(cpu) >= float(computes)
    (whole,) = re.findall(r"([\d.]+) +the whole run", said)
    assert float(whole) >= float(wall)
    assert "seconds by file" not in run(tmp_path, "test_rests.py")
