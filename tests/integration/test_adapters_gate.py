"""`jamak adapters gate`: what the policy in the bucket says of a version that was judged."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from producer.verbs.adapters import adapters
from shared.bucket.reports import POLICY, Reports
from shared.errors import ConfigError, DamagedObject, Missing
from shared.judged import HELD_OUT, Figure, Judged, JudgedSet
from shared.messages import Decoding, ModelIdentity
from shared.training import AdapterManifest
from tests.adapters import publish
from tests.verbs import inside
from tests.world import World

pytestmark = pytest.mark.integration

BASE = ModelIdentity(id="tests/tiny", revision="1", weights_sha256="c" * 64)


def manifest_of(world: World, folder: Path, content: str) -> AdapterManifest:
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).write_text(content)
    return publish(world.registry, folder, BASE)


def report(version: str, gain: float, against: str | None = None) -> Judged:
    def figure(title: str, before: float, gain: float) -> Figure:
        return Figure(
            title=title,
            better="higher",
            percent=False,
            value=before + gain,
            low=before - 10,
            high=before + 40,
            against=before,
            difference=gain,
            spread=(gain,) * 101,
        )

    held_out = JudgedSet(
        name=HELD_OUT,
        data="s3://b/m.jsonl",
        data_sha256="0" * 64,
        captions=9,
        videos=9,
        figures={"chrf": figure("chrF++", 50, gain), "logp": figure("nats a token", -1, 0)},
        left_out={},
    )
    return Judged(
        adapter=version,
        compared=True,
        against=against,
        model=BASE,
        frames=4,
        decoding=Decoding(),
        sets=(held_out,),
        libraries={},
        created_at=datetime.now(UTC),
        jamak="1",
    )


def told(world: World, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = inside(world, adapters, "gate", *arguments, "--json")
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def test_what_the_policy_would_do(world: World, tmp_path: Path) -> None:
    manifest = manifest_of(world, tmp_path, "a")
    version, place = manifest.version, f"{world.prefix}adapters/{POLICY}"
    reports = Reports(world.store, world.output, world.prefix)
    with pytest.raises(ConfigError, match="there is no policy"):
        inside(world, adapters, "gate", version)
    world.store.put(world.output, place, b"canary: 10%")
    with pytest.raises(Missing, match=f"{version} was not judged") as raised:
        inside(world, adapters, "gate", version)
    assert "--keep" in raised.value.cure

    def judged(gain: float, against: str | None = None) -> None:
        body = report(version, gain, against).model_dump_json().encode()
        reports.write(BASE.weights_sha256, version, {"judged.json": body})

    judged(4.0)
    code, said = told(world, version[:6])
    assert code == 0
    assert (said["would"], said["share"], said["reasons"]) == ("canary", 0.1, [])
    assert world.registry.pointer(BASE.weights_sha256).generation == 0
    shown = inside(world, adapters, "gate", version).stdout
    assert f"adapter {version} passes: it would go on trial with 10 % of the captions" in shown

    draft = tmp_path / "draft.yaml"
    draft.write_text("{canary: false, rise: 1}")
    assert told(world, version, "--policy", str(draft))[1]["would"] == "activate"
    draft.write_text("{rise: 9, videos: 10}")
    code, said = told(world, version, "--policy", str(draft))
    assert (code, said["would"]) == (1, "nothing")
    assert said["reasons"][0] == "9 videos were held out; the policy wants 10"
    assert said["reasons"][1].startswith("chrf got better by 4")
    shown = inside(world, adapters, "gate", version, "--policy", str(draft)).stdout
    assert f"adapter {version} does not pass:\n  9 videos were held out" in shown

    # somebody put something else to use since
    other = manifest_of(world, tmp_path, "b").version
    world.registry.activate(BASE.weights_sha256, other)
    code, said = told(world, version)
    assert said["reasons"] == [
        f"it was judged against the base model, but {other} is in use: judge it again"
    ]
    judged(4.0, other)
    assert told(world, version)[1]["would"] == "canary"
    third = manifest_of(world, tmp_path, "d").version
    world.registry.begin_canary(BASE.weights_sha256, third, 0.1, paired=False, by="operator")
    assert told(world, version)[1]["reasons"] == [f"adapter {third} is on trial"]


def test_a_report_that_cannot_be_read_is_named(world: World, tmp_path: Path) -> None:
    version = manifest_of(world, tmp_path, "broken").version
    world.store.put(world.output, f"{world.prefix}adapters/{POLICY}", b"{}")
    reports = Reports(world.store, world.output, world.prefix)
    reports.write(BASE.weights_sha256, version, {"judged.json": b"{"})
    with pytest.raises(DamagedObject, match=r"judged\.json"):
        inside(world, adapters, "gate", version)
    world.store.put(world.output, f"{world.prefix}adapters/{POLICY}", b"marigns: {}")
    with pytest.raises(ConfigError, match=r"policy\.yaml: marigns"):
        inside(world, adapters, "gate", version)
