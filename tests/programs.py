"""Programs that tests need and pip does not have (`python -m infra.debian`)."""

import os

import pytest

from infra.debian import find_program


def need(name: str) -> str:
    """Its path. Without it the test skips, but not in CI: a check that is left out is none."""
    found = find_program(name)
    if found is None:
        told = f"no {name} on PATH, nor in this environment"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return found
