"""Each manifest is one that Kubernetes, KEDA and Karpenter take, and a misspelt field is none."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate.utils
import pytest
from pydantic import ValidationError

import tests.kinds
from infra.local.procfile import ROOT
from tests.kinds import OTHERS
from tests.manifests import OVERLAYS, Manifest, overlay

VERSIONS = ("1.35", "1.36", "1.37")
"""From the first with volumes of images, which docs/kubernetes.md asks for, to the newest."""
FREE = {
    *("labels", "annotations", "matchLabels", "nodeSelector", "selector", "data", "tags", "limits"),
    "requests",
}
"""Maps whose keys are anybody's."""

# Read once, and not for each manifest.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)
kubernetes_validate.utils.all_versions = cache(kubernetes_validate.utils.all_versions)


def check(manifest: Manifest, version: str = VERSIONS[0]) -> None:
    """Raises ValueError."""
    kind = OTHERS.get(manifest["kind"])
    if kind is not None:
        kind.model_validate(manifest)
        if manifest["kind"] != "ScaledJob":
            return
        # Of the Job that it makes KEDA's own schema is a copy of Kubernetes'.
        spec = manifest["spec"]["jobTargetRef"]
        job_of = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "one"}}
        manifest = {**job_of, "spec": spec}
    try:
        kubernetes_validate.utils.validate(manifest, version, strict=True)
    except kubernetes_validate.utils.ValidationError as error:
        raise ValueError(error.message) from error


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_manifest_is_one_that_the_cluster_takes(name: str, version: str) -> None:
    for manifest in overlay(name):
        check(manifest, version)


def paths(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """To each key whose name is the schema's affair."""
    if isinstance(value, list):
        for at, one in enumerate(value):
            yield from paths(one, *path, at)
    elif isinstance(value, dict):
        for key, one in value.items():
            if path and path[-1] in FREE and key != "matchLabels":
                continue
            yield (*path, key)
            yield from paths(one, *path, key)


def misspelt(manifest: Manifest, path: tuple[Any, ...]) -> Manifest:
    """Twice its last letter."""
    wrong = copy.deepcopy(manifest)
    parent: Any = wrong
    for key in path[:-1]:
        parent = parent[key]
    parent[f"{path[-1]}{path[-1][-1]}"] = parent.pop(path[-1])
    return wrong


def one_of_each_kind() -> list[Manifest]:
    return list({one["kind"]: one for one in overlay("eks")}.values())


def test_a_misspelt_field_is_refused_wherever_it_stands() -> None:
    tried = 0
    for manifest in one_of_each_kind():
        for path in paths(manifest):
            if path[0] in ("kind", "apiVersion"):
                continue
            with pytest.raises((ValueError, ValidationError)):
                check(misspelt(manifest, path))
                pytest.fail(f"{manifest['kind']}: {path} was let in misspelt")
            tried += 1
    assert tried > 300


def test_the_page_names_the_versions_that_are_checked() -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    *others, newest = VERSIONS
    assert f"Kubernetes {', '.join(others)} and {newest} take every manifest" in page
    assert f"| Kubernetes {VERSIONS[0]} or newer" in page
    (keda,) = re.findall(r"KEDA ([\d.]+\d)", tests.kinds.__doc__ or "")
    assert f"| KEDA {keda} or newer" in page
