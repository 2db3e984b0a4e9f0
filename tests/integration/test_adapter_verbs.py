"""`jamak adapters` moves the pointer that workers follow."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.messages import ModelIdentity
from tests.adapters import publish
from tests.verbs import jamak
from tests.world import World

pytestmark = pytest.mark.integration

BASE = ModelIdentity(id="m", revision="r", weights_sha256="b" * 64)


@pytest.fixture
def versions(world: World, tmp_path: Path) -> list[str]:
    """Two published adapters of one base."""
    found = []
    for content in (b"one", b"two"):
        (tmp_path / "adapter_model.safetensors").write_bytes(content)
        (tmp_path / "adapter_config.json").write_bytes(b"{}")
        found.append(publish(world.registry, tmp_path, BASE).version)
    return found


def test_list_activate_and_rollback(world: World, versions: list[str]) -> None:
    def told(*arguments: str) -> Any:
        return json.loads(jamak(world, "adapters", *arguments, "--json").stdout)

    first, second = versions
    listed = told("list")
    assert [item["version"] for item in listed["versions"]] == versions
    assert [item["version"] for item in listed["in_use"]] == [None]
    assert told("activate", first)["version"] == first
    assert told("activate", second[:6])["version"] == second  # the start of it is enough
    assert told("rollback", "--base", "b")["version"] == first
    assert told("list")["in_use"][0]["version"] == first
    assert "← in use" in jamak(world, "adapters", "list").stdout
    unknown = jamak(world, "adapters", "activate", "unheard-of", code=2)
    assert "jamak adapters list" in unknown.stderr
