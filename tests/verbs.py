"""The `jamak` command, as people and programs run it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from shared.errors import Unfinished
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


def inside(
    world: World,
    verb: Callable[..., Any] | typer.Typer,
    *arguments: str,
    input: str | None = None,  # as CliRunner calls it
) -> Result:
    """A verb in this process, which is much faster. What it raises is raised, unless it has told a
    part of what it did."""
    app = verb
    if not isinstance(app, typer.Typer):
        app = typer.Typer()
        app.command()(verb)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.env.items():
            patch.setenv(name, value)
        done = CliRunner().invoke(app, list(arguments), input=input)
    if isinstance(done.exception, (SystemExit, Unfinished)) or done.exception is None:
        return done
    raise done.exception
