"""Whether a training moves: by what its process and its children do."""

import subprocess

import psutil
import pytest

from workers.train.own_process import _work_of


def test_a_child_that_ends_while_it_is_looked_at_is_no_end_of_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["true"]) as child:
        gone = psutil.Process(child.pid)
    monkeypatch.setattr(psutil.Process, "children", lambda process, recursive: [gone])
    cpu_s, mib = _work_of(psutil.Process())
    assert cpu_s > 0
    assert mib > 1
