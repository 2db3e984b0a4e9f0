"""The real `terraform`, in a copy of infra/terraform: nothing is left in the checkout."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local.procfile import ROOT
from tests.programs import need

AWS_PLUGIN = "registry.terraform.io/hashicorp/aws"
MIRRORS = ("~/.terraform.d/plugins", "/usr/local/share/terraform/plugins", "/opt/*")
"""Where a copy of the registry may lie (`terraform providers mirror` makes one)."""


def plugins() -> Path:
    """The folder of a mirror that has the AWS plugin. Without one the test skips, but not in CI."""
    named = os.environ.get("JAMAK_TEST_TERRAFORM_PLUGINS")
    for pattern in (named,) if named else MIRRORS:
        plain = Path(pattern).expanduser()
        for found in Path(plain.anchor).glob(f"{plain.relative_to(plain.anchor)}/{AWS_PLUGIN}"):
            return Path(str(found).removesuffix(AWS_PLUGIN))
    told = (
        "terraform's AWS plugin is nowhere: `terraform providers mirror DIR` in infra/terraform, "
        "and JAMAK_TEST_TERRAFORM_PLUGINS=DIR"
    )
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


class Terraform:
    """A folder in which it works."""

    def __init__(self, folder: Path) -> None:
        self._binary = need("terraform")
        self.folder = folder

    @classmethod
    def copied(cls, folder: Path) -> "Terraform":
        """All of infra/terraform, and what it reads."""
        for name in ("terraform", "s3", "redis"):
            shutil.copytree(
                ROOT / "infra" / name,
                folder / "infra" / name,
                ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"),
            )
        return cls(folder / "infra/terraform")

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """What it says. Raises AssertionError: it fails."""
        # Neither what the user has set for his own, nor a word over the network.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "AWS_"))}
        done = subprocess.run(
            [self._binary, *arguments],
            cwd=self.folder,
            env={**clean, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"terraform {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def outputs(self) -> dict[str, Any]:
        told = json.loads(self("output", "-json"))
        return {name: one["value"] for name, one in told.items()}
