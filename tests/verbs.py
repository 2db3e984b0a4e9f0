"""The `jamak` command, as people and programs run it."""

import os
import subprocess
from pathlib import Path

from tests.warm import run_warm
from tests.world import World


def jamak(world: World, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Args:
    code: with which it has to end.
    """
    done = run_warm(["jamak", *arguments], {**os.environ, **world.env}, Path.cwd(), 60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done
