"""`jamak adapters canary` and `promote`: a version on trial, and one that has proved itself."""

import re
from typing import Annotated

import typer

from producer.verbs import completion
from producer.verbs.adapters_told import registry_of
from producer.verbs.console import AsJson, out, print_json
from shared.errors import Reject, UsageError
from shared.language import spoken
from shared.settings import load_settings

_PERCENT = re.compile(r"(\d{1,2}(?:\.\d{1,3})?)%")
MOST_PERCENT = 50


def adapters_canary(
    version: Annotated[
        str, typer.Argument(help="Or the start of it.", autocompletion=completion.adapters)
    ],
    share: Annotated[str, typer.Argument(help="Of the videos, such as 10%; at most 50%.")] = "10%",
    single: Annotated[
        bool, typer.Option("--single", help="No video is captioned by both for comparison.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Try a version on live captions; `jamak adapters watch` decides what becomes of it."""
    part = _share_of(share)
    settings = load_settings()
    registry = registry_of(settings)
    manifest = registry.find(version)
    pointer = registry.begin_canary(
        manifest.base.weights_sha256,
        manifest.version,
        part,
        paired=not single,
        by="operator",
    )
    if as_json:
        print_json(pointer.model_dump(mode="json"))
    else:
        out.print(spoken(f"on trial: {manifest.version}, with {share}; workers follow in seconds"))


def adapters_promote(
    version: Annotated[
        str,
        typer.Argument(
            help="What is on trial, or the start of it.", autocompletion=completion.adapters
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Use what is on trial for all captions, without waiting for a verdict."""
    registry = registry_of(load_settings())
    manifest = registry.find(version)
    base = manifest.base.weights_sha256
    now = registry.pointer(base)
    if now.canary is None or now.canary.version != manifest.version:
        on_trial = now.canary.version if now.canary else "nothing"
        raise Reject(
            f"not {manifest.version} but {on_trial} is on trial; nothing was done",
            cure="`jamak adapters list` shows what is; `jamak adapters activate` needs no trial.",
        )
    pointer = registry.promote_canary(base, by="operator", trial=now.generation)
    if as_json:
        print_json(pointer.model_dump(mode="json"))
    else:
        out.print(
            spoken(f"in use: {pointer.version or 'the base model'}; workers follow in seconds")
        )


def _share_of(text: str) -> float:
    found = _PERCENT.fullmatch(text)
    if found is None or not 0 < float(found[1]) <= MOST_PERCENT:
        raise UsageError(
            f"{text!r} is no share of the videos that a canary may have",
            cure=f"Write a percentage above 0 % and up to {MOST_PERCENT} %, such as 10%.",
        )
    return float(found[1]) / 100
