"""infra/terraform, looked at by the real terraform."""

from pathlib import Path

import pytest

from infra.local.procfile import ROOT
from tests.terraform import Terraform, plugins

pytestmark = pytest.mark.integration


def test_it_is_formatted() -> None:
    Terraform(ROOT / "infra/terraform")("fmt", "-check", "-recursive", "-diff")


def test_it_passes_its_own_tests(tmp_path: Path) -> None:
    """They load all of it, as `validate` does."""
    terraform = Terraform.copied(tmp_path)
    terraform("init", "-backend=false", f"-plugin-dir={plugins()}")
    told = terraform("test")
    assert "0 failed" in told
