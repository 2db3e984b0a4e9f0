"""The Kubernetes manifests as a cluster would get them: rendered by kubectl itself."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.procfile import ROOT

KUBERNETES = ROOT / "infra/kubernetes"
OVERLAYS = ("dev", "eks")
Manifest = dict[str, Any]


def tool(name: str) -> str:
    """The one of the test extra, else the one on PATH. On a laptop the test is skipped without it,
    in CI it fails."""
    ours = Path(sys.executable).parent / name
    found = str(ours) if ours.exists() else shutil.which(name)
    if not found:
        assert not os.environ.get("CI"), f"there is no {name}"
        pytest.skip(f"there is no {name}")
    return found


def render(folder: Path) -> list[Manifest]:
    done = subprocess.run(
        [tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


@cache
def overlay(name: str) -> tuple[Manifest, ...]:
    """Not to be changed."""
    return tuple(render(KUBERNETES / "overlays" / name))


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def named(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    return next(one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name)


def pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """The templates of all pods, each with the name of what starts them."""
    for one in of_kind(manifests, "Deployment", "ScaledJob"):
        spec = one["spec"]
        job = spec["jobTargetRef"] if one["kind"] == "ScaledJob" else spec
        yield one["metadata"]["name"], job["template"]


def container(template: Manifest) -> Manifest:
    (only,) = template["spec"]["containers"]
    return only


def environment(manifests: tuple[Manifest, ...], template: Manifest) -> dict[str, str | None]:
    """Name -> value; None: by reference."""
    only = container(template)
    names = [one["configMapRef"]["name"] for one in only["envFrom"]]
    found: dict[str, str | None] = {}
    for name in names:
        found |= named(manifests, "ConfigMap", name)["data"]
    return found | {one["name"]: one.get("value") for one in only.get("env", [])}


def line_of_procfile(template: Manifest) -> str:
    return f"exec {shlex.join(container(template)['command'])}"
