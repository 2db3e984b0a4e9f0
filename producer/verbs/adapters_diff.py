"""`jamak adapters diff`: what two versions differ in."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from producer.bucket.adapter_weights import Change, changes
from producer.verbs import completion
from producer.verbs.adapters_told import registry_of
from producer.verbs.console import AsJson, Grid, err, out, print_json, warn
from shared.bucket.registry import Registry
from shared.bucket.reports import Reports
from shared.bucket.storage import ObjectStore
from shared.errors import UsageError
from shared.judged import Judged
from shared.language import spoken
from shared.settings import load_settings
from shared.training import AdapterManifest

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Pair = tuple[Any, Any]

OneOf = Annotated[
    str, typer.Argument(help="Or the start of it.", autocompletion=completion.adapters)
]


def adapters_diff(
    first: OneOf,
    second: OneOf,
    weights: Annotated[
        bool, typer.Option("--weights", help="Fetch both, and say how far they lie apart.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What two versions differ in: training, data, configuration, scores, weights."""
    settings = load_settings()
    registry = registry_of(settings)
    pair = registry.find(first), registry.find(second)
    if weights and pair[0].base != pair[1].base:
        raise UsageError(
            "--weights: these are of two base models",
            cure="Weights can be compared where the base model is the same.",
        )
    store = ObjectStore(outputs=settings.all_outputs)
    reports = Reports(store, settings.output_bucket, settings.output_prefix)
    judged = [reports.find(one.base.weights_sha256, one.version) for one in pair]
    found = {
        "made": _different(*map(_made_of, pair)),
        "training": _different(*map(_asked, pair)),
        "configuration": _different(*(_configuration(registry, one) for one in pair)),
        "libraries": _different(*(one.libraries for one in pair)),
        "scores": _different(*(one.metrics for one in pair)),
    }
    figures, incomparable = _figures(*judged)
    found["judged"] = figures
    is_same = pair[0].files[WEIGHTS] == pair[1].files[WEIGHTS]
    apart = _apart(registry, pair) if weights else None
    if as_json:
        print_json(
            {
                "first": pair[0].version,
                "second": pair[1].version,
                "different": found,
                "not_compared": incomparable,
                "same_weights": is_same,
                "weights": apart and [asdict(one) for one in apart],
            }
        )
        return
    _show(pair, found)
    for why in incomparable:
        warn(why)
    if is_same:
        out.print(spoken("their weights are the same, byte for byte"))
    if apart is not None:
        _show_apart(apart)


def _different(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    names = dict.fromkeys([*first, *second])
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _made_of(manifest: AdapterManifest) -> dict[str, Any]:
    fields = {"stage", "base", "parent", "data", "data_sha256", "replayed", "notes"}
    return manifest.model_dump(mode="json", include=fields)


def _asked(manifest: AdapterManifest) -> dict[str, Any]:
    """Without what is among the rest."""
    return manifest.train_job.model_dump(mode="json", exclude={"v", "stage", "data"})


def _configuration(registry: Registry, manifest: AdapterManifest) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="jamak-diff-") as folder:
        return dict(json.loads(registry.fetch(manifest, CONFIG, Path(folder)).read_bytes()))


def _figures(first: Judged | None, second: Judged | None) -> tuple[dict[str, Pair], list[str]]:
    """`set: measure` -> both values; and which sets cannot be compared, and why."""
    if first is None or second is None:
        return {}, []
    found: dict[str, Pair] = {}
    why = []
    for one in first.sets:
        other = second.of(one.name)
        if other is None or other.data_sha256 != one.data_sha256:
            why.append(f"they were judged on other data: {one.name}")
            continue
        values = [
            {f"{one.name}: {name}": figure.value for name, figure in each.figures.items()}
            for each in (one, other)
        ]
        found |= _different(*values)
    return found, why


def _apart(registry: Registry, pair: tuple[AdapterManifest, AdapterManifest]) -> list[Change]:
    with (
        tempfile.TemporaryDirectory(prefix="jamak-diff-") as folder,
        err.status(spoken("comparing weights …")),
    ):
        paths = [
            registry.fetch(one, WEIGHTS, Path(folder) / str(at)) for at, one in enumerate(pair)
        ]
        return changes(*paths)


def _show(
    pair: tuple[AdapterManifest, AdapterManifest], found: Mapping[str, Mapping[str, Pair]]
) -> None:
    table = Grid("what", "field", pair[0].version, pair[1].version)
    for what, fields in found.items():
        for name, values in fields.items():
            table.add_row(spoken(what), escape(name), *(escape(_shown(one)) for one in values))
    if any(found.values()):
        out.print(table)
    else:
        out.print(spoken("nothing of what is known of them differs"))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _show_apart(apart: list[Change]) -> None:
    table = Grid("part", "parameters", "change", "of other shapes")
    for one in apart:
        change = "-" if one.change is None else f"{one.change:.2%}"
        table.add_row(one.part, f"{one.parameters:,}", change, str(one.unlike or ""))
    out.print(table)
