"""`jamak adapters show`, `diff` and `verify`: what is known of versions, and whether it is true."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from producer.verbs.adapters import adapters
from shared.bucket.registry import base_name
from shared.bucket.reports import POLICY, REPORT, Reports
from shared.errors import BadAdapter, UsageError
from shared.messages import ModelIdentity
from shared.training import AdapterManifest, Replayed
from tests.adapters import publish
from tests.integration.test_adapters_gate import report
from tests.training import make_job
from tests.verbs import inside, jamak
from tests.world import World

pytestmark = pytest.mark.integration

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass
class Shelf:
    """Of a base model of its own: a version, and one that went on from it."""

    world: World
    base: ModelIdentity
    first: AdapterManifest
    second: AdapterManifest

    def key(self, version: str, name: str) -> str:
        return f"{self.world.prefix}adapters/{base_name(self.base.weights_sha256)}/{version}/{name}"

    def put(self, version: str, name: str, body: bytes) -> None:
        self.world.store.put(self.world.output, self.key(version, name), body)

    def get(self, version: str, name: str) -> bytes:
        return self.world.store.get(self.world.output, self.key(version, name))

    def verified(self, *versions: str) -> tuple[int, dict[str, Any]]:
        done = inside(self.world, adapters, "verify", *versions, "--json")
        return done.exit_code, json.loads(done.stdout)

    def fault(self) -> str:
        """The only one of the second version."""
        code, told = self.verified(self.second.version)
        assert code == 1
        (one,) = told["versions"]
        assert not one["whole"]
        (fault,) = one["faults"]
        return str(fault)


_bases = iter("0123456789")


@pytest.fixture
def shelf(world: World, tmp_path: Path) -> Iterator[Shelf]:
    base = ModelIdentity(id="tests/tiny", revision="1", weights_sha256=next(_bases) * 64)
    made: list[AdapterManifest] = []
    for number in range(2):
        weights = torch.full((2, 3), 1.0 + number)
        save_file({"x.q_proj.lora_A.weight": weights}, tmp_path / WEIGHTS)
        (tmp_path / CONFIG).write_text(json.dumps({"r": 8 + number, "bias": "none"}))
        parent = made[0].version if made else None
        manifest = publish(
            world.registry,
            tmp_path,
            base,
            parent=parent,
            train_job=make_job(id=f"job-{number}", steps=60 + number, start_from=parent),
            data=f"s3://data/{number}/m.jsonl",
            replayed=(Replayed(data="s3://data/old.jsonl", data_sha256="1" * 64, rows=3),) * number,
            metrics={"chrf_before": 40.0, "chrf_after": 50.0 + number, "n_eval": 9},
        )
        made.append(manifest)
    yield Shelf(world, base, *made)
    for one in world.store.list(world.output, f"{world.prefix}adapters/"):
        world.store.delete(world.output, one.key)


def test_show_tells_all_that_is_known_of_a_version(shelf: Shelf) -> None:
    world, first, second = shelf.world, shelf.first.version, shelf.second.version
    reports = Reports(world.store, world.output, world.prefix)
    told = report(second, gain=3.0, against=first)
    body = told.model_dump_json().encode()
    reports.write(shelf.base.weights_sha256, second, {REPORT: body})
    for version in (first, second):
        world.registry.activate(shelf.base.weights_sha256, version)
    world.registry.rollback(shelf.base.weights_sha256)
    world.store.put(world.output, f"{world.prefix}adapters/{POLICY}", b"canary: 10%")
    shown = json.loads(inside(world, adapters, "show", second[:8], "--json").stdout)
    assert (shown["version"], shown["parents"]) == (second, [first])
    assert shown["data"] == "s3://data/1/m.jsonl"
    assert shown["judged"]["sets"][0]["figures"]["chrf"]["difference"] == 3.0
    assert shown["gate"] == {"would": "canary", "reasons": []}
    assert [stop["how"] for stop in shown["history"]] == ["activated", "rolled back"]
    assert shown["use"].startswith("in use until")
    said = jamak(world, "adapters", "show", second).stdout
    for one in (
        "job-1",
        f"from {first}",
        "s3://data/old.jsonl",
        "chrF++",
        "it would go on trial with 10 %",
        shelf.second.files[WEIGHTS],
    ):
        assert one in said
    # The first one was neither judged nor left by a move of another.
    shown = json.loads(inside(world, adapters, "show", first, "--json").stdout)
    assert (shown["judged"], shown["gate"], shown["parents"]) == (None, None, [])
    assert [stop["how"] for stop in shown["history"]] == ["activated"] * 2 + ["rolled back"]


def test_diff_tells_what_differs_and_nothing_else(shelf: Shelf) -> None:
    world, first, second = shelf.world, shelf.first.version, shelf.second.version
    reports = Reports(world.store, world.output, world.prefix)
    for version, gain in ((first, 1.0), (second, 3.0)):
        body = report(version, gain).model_dump_json().encode()
        reports.write(shelf.base.weights_sha256, version, {REPORT: body})
    done = inside(world, adapters, "diff", first, second, "--weights", "--json")
    told = json.loads(done.stdout)
    assert told["different"] == {
        "made": {
            "parent": [None, first],
            "data": ["s3://data/0/m.jsonl", "s3://data/1/m.jsonl"],
            "replayed": [
                [],
                [{"data": "s3://data/old.jsonl", "data_sha256": "1" * 64, "rows": 3}],
            ],
        },
        "training": {
            "id": ["job-0", "job-1"],
            "start_from": [None, first],
            "steps": [60, 61],
        },
        "configuration": {"r": [8, 9]},
        "libraries": {},
        "scores": {"chrf_after": [50.0, 51.0]},
        "judged": {"held out: chrf": [51.0, 53.0]},
    }
    assert told["weights"] == [{"part": "q_proj", "parameters": 6, "change": 1.0, "unlike": 0}]
    assert (told["same_weights"], told["not_compared"]) == (False, [])
    said = jamak(world, "adapters", "diff", first, second, "--weights").stdout
    assert "100.00%" in said
    assert "exact" not in said
    said = jamak(world, "adapters", "diff", first, first).stdout
    assert "nothing of what is known of them differs" in said
    other = report(second, 3.0)
    changed = other.sets[0].model_copy(update={"data_sha256": "2" * 64})
    body = other.model_copy(update={"sets": (changed,)}).model_dump_json().encode()
    reports.write(shelf.base.weights_sha256, second, {REPORT: body})
    told = json.loads(inside(world, adapters, "diff", first, second, "--json").stdout)
    assert told["different"]["judged"] == {}
    assert told["not_compared"] == ["they were judged on other data: held out"]
    shelf.put(second, CONFIG, b'{"r": 8}')
    with pytest.raises(BadAdapter, match=f"{CONFIG} of adapter {second} is not the file"):
        inside(world, adapters, "diff", first, second)


def test_weights_of_other_models_are_not_compared(shelf: Shelf, tmp_path: Path) -> None:
    other = shelf.base.model_copy(update={"weights_sha256": "9" * 64})
    for name in (CONFIG, WEIGHTS):
        (tmp_path / name).write_bytes(shelf.get(shelf.first.version, name))
    version = publish(shelf.world.registry, tmp_path, other).version
    with pytest.raises(UsageError, match="two base models"):
        inside(shelf.world, adapters, "diff", shelf.first.version, version, "--weights")


def test_verify_finds_each_thing_that_is_not_as_it_was(shelf: Shelf) -> None:
    first, second = shelf.first.version, shelf.second.version
    code, told = shelf.verified()
    assert (code, told["pointers"]) == (0, [])
    assert [one["faults"] for one in told["versions"]] == [[], []]
    assert "whole" in jamak(shelf.world, "adapters", "verify", second).stdout
    for words in (("verify", ""), ("show", ""), ("canary", "")):  # a variable that is not set
        said = jamak(shelf.world, "adapters", *words, code=2).stderr
        assert "adapter versions begin with ''" in said
    manifest = json.loads(shelf.get(second, "manifest.json"))

    def changed(**fields: Any) -> bytes:
        return json.dumps({**manifest, **fields}).encode()

    other = {**manifest["base"], "weights_sha256": "f" * 64}
    early = {**manifest, "created_at": "2020-01-01T00:00:00Z"}
    elsewhere = {**manifest["train_job"], "start_from": "e" * 12}
    files = {**manifest["files"], WEIGHTS: "0" * 64}
    good = {name: shelf.get(second, name) for name in (CONFIG, WEIGHTS)}
    bad_weights = bytearray(good[WEIGHTS])
    bad_weights[-1] ^= 1
    for name, body, said in (
        (WEIGHTS, bytes(bad_weights), f"{WEIGHTS} of adapter {second} is not the file"),
        (CONFIG, b"{}", f"{CONFIG} of adapter {second} is not the file"),
        ("manifest.json", b"{", "manifest.json is damaged"),
        ("manifest.json", changed(files=files), "describes other content"),
        ("manifest.json", changed(version=first), "describes other content"),
        ("manifest.json", changed(base=other), "describes other content"),
        ("manifest.json", json.dumps(early).encode(), f"its parent {first} was made after it"),
        ("manifest.json", changed(parent=None), f"to go on from {first}, and its parent is the"),
        ("manifest.json", changed(train_job=elsewhere), f"and its parent is {first}"),
        (REPORT, report(first, 1.0).model_dump_json().encode(), f"is about {first}"),
        (REPORT, b"{", f"{REPORT} is damaged"),
    ):
        before = shelf.get(second, name) if name != REPORT else b""
        shelf.put(second, name, body)
        assert said in shelf.fault()
        if before:
            shelf.put(second, name, before)
        else:
            shelf.world.store.delete(shelf.world.output, shelf.key(second, name))
    shelf.world.store.delete(shelf.world.output, shelf.key(second, WEIGHTS))
    assert WEIGHTS in shelf.fault()
    assert jamak(shelf.world, "adapters", "verify", code=1).stderr == ""
    with pytest.raises(UsageError, match="0 adapter versions"):
        shelf.verified("abcdef")


def test_what_is_no_fault_is_noted(shelf: Shelf) -> None:
    first, second = shelf.first.version, shelf.second.version
    shelf.put(second, "optimizer.pt", b"pickle")
    shelf.put("c" * 12, WEIGHTS, b"half")
    shelf.world.store.delete(shelf.world.output, shelf.key(first, "manifest.json"))
    code, told = shelf.verified()
    assert code == 0
    notes = {one["version"]: one["notes"] for one in told["versions"]}
    incomplete = ["it was never completed: it has no manifest"]
    assert notes == {
        first: incomplete,
        "c" * 12: incomplete,
        second: [
            f"its parent {first} is there no more",
            "nobody reads what else lies there: optimizer.pt",
        ],
    }


def test_a_pointer_to_nothing_is_a_fault(shelf: Shelf) -> None:
    world, base = shelf.world, shelf.base.weights_sha256
    for one in (shelf.first, shelf.second):
        world.registry.activate(base, one.version)
    world.registry.begin_canary(base, shelf.first.version, 0.1, paired=False, by="operator")
    for one in (shelf.first, shelf.second):
        world.store.delete(world.output, shelf.key(one.version, "manifest.json"))
    code, told = shelf.verified()
    assert code == 1
    assert {one["fault"] for one in told["pointers"]} == {
        f"{shelf.first.version} is on trial, and is not there",
        f"{shelf.second.version} is in use, and is not there",
    }
