"""`jamak adapters` shows what there is, and moves the pointer that workers follow."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from producer.bucket.unused_adapters import delete, unused_adapters
from producer.verbs.adapters import adapters
from shared.bucket.training import TrainingRecords
from shared.errors import JamakError, Reject, UsageError
from shared.messages import ModelIdentity
from shared.training import TrainOutcome
from tests.adapters import publish
from tests.training import make_job
from tests.verbs import inside, jamak
from tests.world import World

pytestmark = pytest.mark.integration

Shelf = tuple[ModelIdentity, dict[str, str]]
"""A base, and its versions with a name each."""

BASE = ModelIdentity(id="m", revision="r", weights_sha256="b" * 64)
SCORES = {
    "exact_before": 0.25,
    "exact_after": 0.75,
    "chrf_before": 41.5,
    "chrf_after": 88.25,
    "loss_first": 2.5,
    "loss_last": 0.125,
    "n_train": 90,
    "n_eval": 11,
    "n_eval_videos": 10,
    "n_better": 7,
    "n_worse": 1,
}


@pytest.fixture(scope="module")
def versions(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three published adapters of one base; the last one was not good enough."""
    folder, found = tmp_path_factory.mktemp("adapters"), []
    (folder / "adapter_config.json").write_bytes(b"{}")
    for number, content in enumerate(("one", "two", "three")):
        (folder / "adapter_model.safetensors").write_text(content)
        job = make_job(id=f"job-{number}", rank=8 + number)
        data = f"s3://data/set-{number}/manifest.jsonl"
        manifest = publish(world.registry, folder, BASE, metrics=SCORES, train_job=job, data=data)
        found.append(manifest.version)
    TrainingRecords(world.store, world.output, world.prefix).end(
        TrainOutcome(
            job_id="job-2",
            status="published",
            version=found[2],
            why_not_activated="7 videos are held out",
            seconds=1.0,
            created_at=datetime.now(UTC),
        )
    )
    return found


def told(world: World, *arguments: str) -> Any:
    done = CliRunner().invoke(adapters, [*arguments, "--json"], env=world.env)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def test_list_activate_and_rollback(world: World, versions: list[str]) -> None:
    first, second, _ = versions
    listed = told(world, "list")
    assert [item["version"] for item in listed["versions"]] == versions
    assert [item["version"] for item in listed["in_use"]] == [None]
    assert told(world, "activate", first)["version"] == first
    # The start of it is enough.
    assert told(world, "activate", second[:6])["version"] == second
    assert told(world, "rollback", "--base", "b")["version"] == first
    with pytest.raises(Reject, match=f"not {second} but {first} is in use"):
        told(world, "rollback", second)
    listed = told(world, "list")
    (used,) = listed["in_use"]
    assert (used["base"], used["version"]) == (BASE.weights_sha256, first)
    history = [(stop["version"], stop["how"]) for stop in used["history"]]
    assert history == [(first, "activated"), (second, "activated"), (first, "rolled back")]
    why_not = [item["why_not_activated"] for item in listed["versions"]]
    assert why_not == [None, None, "7 videos are held out"]
    assert told(world, "rollback", first)["version"] is None
    with pytest.raises(Reject, match="nothing to roll back to"):
        told(world, "rollback")
    told(world, "activate", first)


def test_a_rollback_names_its_base_by_the_version_also_of_one_that_cannot_be_read(
    world: World, versions: list[str], tmp_path: Path
) -> None:
    told(world, "activate", versions[0])
    other = ModelIdentity(id="other", revision="r", weights_sha256="c" * 64)
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    (tmp_path / "adapter_model.safetensors").write_text("of another base")
    version = publish(world.registry, tmp_path, other).version
    folder = f"{world.prefix}adapters/{'c' * 12}/"
    try:
        told(world, "activate", version)
        world.store.put(world.output, f"{folder}{version}/manifest.json", b"{}")
        listed = told(world, "list")
        assert {one["version"] for one in listed["in_use"]} == {versions[0], version}
        with pytest.raises(UsageError, match="2 base models match"):
            told(world, "rollback")
        assert told(world, "rollback", version)["version"] is None
        with pytest.raises(Reject, match="nothing to roll back to"):
            told(world, "rollback", "--base", "c" * 64)
        with pytest.raises(UsageError, match="no version is named"):
            told(world, "rollback", "")
        assert world.registry.pointer(BASE.weights_sha256).version == versions[0]
    finally:
        for item in list(world.store.list(world.output, folder)):
            world.store.delete(world.output, item.key)


def test_what_people_see_has_scores_data_and_history(
    world: World, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    told(world, "activate", versions[1])
    told(world, "activate", versions[0])
    said = jamak(world, "adapters", "list").stdout
    for version in versions:
        assert version in said
    for score in ("exact 0.250 → 0.750", "chrf 41.500 → 88.250", "11 rows, 10 videos"):
        assert said.count(score) == 3
    for one in ("7 better, 1 worse", "sft, rank 9, 60 steps", "90 rows", "loss 2.500 → 0.125"):
        assert one in said
    assert "s3://data/set-2/manifest.jsonl" in said
    assert "← in use since" in said
    assert "in use until" in said
    assert "not put to use: 7 videos are held out" in said
    assert "what was in use, of m (bbbbbbbbbbbb)" in said


def test_a_canary_is_begun_shown_ended_and_promoted(
    world: World, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    incumbent, other, version = versions
    told(world, "activate", incumbent)
    begun = told(world, "canary", version[:6], "20%")
    assert begun["version"] == incumbent
    canary = begun["canary"]
    assert (canary["version"], canary["share"], canary["paired"]) == (version, 0.2, True)
    shown = jamak(world, "adapters", "list").stdout
    assert "← on trial since" in shown
    assert "with 20 %" in shown
    with pytest.raises(Reject, match=f"not {other} but {version} is on trial"):
        told(world, "promote", other)
    ended = told(world, "rollback")
    assert (ended["version"], ended.get("canary")) == (incumbent, None)
    shown = jamak(world, "adapters", "list").stdout
    assert "← on trial" not in shown
    assert "on trial until" in shown
    assert f"{version} 20 %" in shown  # the history
    assert not told(world, "canary", version, "--single")["canary"]["paired"]
    assert told(world, "promote", version)["version"] == version
    with pytest.raises(UsageError, match="'60%' is no share"):
        told(world, "canary", other, "60%")


def test_a_version_that_is_not_there_is_named(world: World, versions: list[str]) -> None:
    unknown = jamak(world, "adapters", "activate", "unheard-of", code=2)
    assert "jamak adapters list" in unknown.stderr


@pytest.fixture
def shelf(world: World, tmp_path: Path) -> Iterator[Shelf]:
    """Versions of one base, `abcde`: a was in use, b is, d is the parent of a training."""
    base = ModelIdentity(id="m", revision="r", weights_sha256="5" * 64)
    (tmp_path / "adapter_config.json").write_bytes(b"{}")
    shelf = {}
    for name in "abcde":
        (tmp_path / "adapter_model.safetensors").write_text(f"shelf {name}")
        shelf[publish(world.registry, tmp_path, base).version] = name
    versions = list(shelf)
    for version in versions[:2]:
        world.registry.activate(base.weights_sha256, version)
    records = TrainingRecords(world.store, world.output, world.prefix)
    records.ask(make_job(id="runs", start_from=versions[3][:8]))
    yield base, shelf
    world.store.delete(world.output, f"{world.prefix}training/runs/asked.json")
    world.store.delete(world.output, f"{world.prefix}adapters/{'5' * 12}/active.json")


def on(world: World, shelf: Shelf) -> str:
    """What is there, in whole."""
    found = world.registry.manifests()
    return "".join(sorted(shelf[1].get(item.version, "") for item in found))


def test_only_what_nobody_needs_is_deleted(
    world: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    young = json.loads(inside(world, adapters, "prune", "--yes", "--json").stdout)
    assert young == {"deleted": [], "kept": []}
    tomorrow(monkeypatch)
    seen = json.loads(inside(world, adapters, "prune", "--json").stdout)
    mine = {shelf[1].get(one["version"]) for one in seen["unused"]} - {None}
    assert mine == {"c", "e"}
    assert on(world, shelf) == "abcde"
    done = json.loads(inside(world, adapters, "prune", "--yes", "--json").stdout)
    assert {one["version"] for one in done["deleted"]} == {one["version"] for one in seen["unused"]}
    assert on(world, shelf) == "abd"
    folder = f"{world.prefix}adapters/{'5' * 12}/"
    left = {item.key.split("/")[-2] for item in world.store.list(world.output, folder)}
    assert {shelf[1].get(name, "pointer") for name in left} == {"a", "b", "d", "pointer"}
    assert world.registry.rollback(shelf[0].weights_sha256).version in shelf[1]


def test_what_is_put_to_use_meanwhile_is_not_deleted(
    world: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow(monkeypatch)
    unused = unused_adapters(world.store, world.settings, timedelta(days=30))
    (one,) = (one for one in unused if shelf[1].get(one.version) == "c")
    world.registry.activate(shelf[0].weights_sha256, one.version)
    assert not delete(world.store, world.settings, one)
    assert "c" in on(world, shelf)


def test_nobody_is_asked_in_vain_and_a_no_deletes_nothing(
    world: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow(monkeypatch)
    assert inside(world, adapters, "prune").exit_code == 1  # there is nobody to say yes
    assert on(world, shelf) == "abcde"


def test_where_a_pointer_cannot_be_read_nothing_is_deleted(
    world: World, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow(monkeypatch)
    key = f"{world.prefix}adapters/{'5' * 12}/active.json"
    pointer = world.store.get(world.output, key)
    world.store.put(world.output, key, b'{"v": 99}')
    with pytest.raises(JamakError):
        inside(world, adapters, "prune", "--yes")
    world.store.put(world.output, key, pointer)
    assert on(world, shelf) == "abcde"


def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is there is older than 30 days."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(days=31)

    monkeypatch.setattr("producer.bucket.unused_adapters.datetime", Later)
