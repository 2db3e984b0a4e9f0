"""The `jamak` command, as people and programs run it."""

import os
import subprocess
import sys

from tests.world import World


def jamak(world: World, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Args:
    code: with which it has to end.
    """
    done = subprocess.run(
        [sys.executable, "-m", "producer.cli", *arguments],
        env={**os.environ, **world.env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done
