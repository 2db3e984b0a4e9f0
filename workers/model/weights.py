"""The weight files of a checkpoint: whose they are, and whether they are all there and fit.

transformers only warns where weights are missing or left over, and makes up those it misses: such
a model captions, and nobody sees that a part of it is random. Here that is refused, by name. It
also reads other kinds of files than safetensors; by those no checkpoint is known here.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from shared.errors import ConfigError

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
NAMED = 3
"""Of many that are wrong, so many are named."""


def weight_files(directory: Path) -> list[Path]:
    """Those that a model is loaded from, each of them whole.

    Raises:
        ConfigError: there are none, or one of them is missing or cut short.
    """
    files = _named(directory)
    for file in files:
        if not file.is_file():
            raise ConfigError(
                f"{directory} lacks {file.name}, which {INDEX} names",
                cure="Copy the checkpoint again, all of its files.",
            )
        try:
            with safe_open(file, "pt"):  # its header says how long it is
                pass
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{file} cannot be read as safetensors: {error}",
                cure="Copy the checkpoint again; this file is damaged or was cut short.",
            ) from error
    return files


def _named(directory: Path) -> list[Path]:
    if (directory / WHOLE).exists():
        return [directory / WHOLE]
    if not (directory / INDEX).exists():
        raise ConfigError(
            f"{directory} holds no {WHOLE} and no {INDEX}: without them nobody can say which "
            "weights a caption is of",
            cure="Save the model with save_pretrained, which writes safetensors.",
        )
    try:
        index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{directory / INDEX} cannot be read: {error}",
            cure="Copy the checkpoint again; this file is damaged.",
        ) from error
    return [directory / str(name) for name in names]


def weights_digest(directory: Path) -> str:
    """SHA-256 over the names and digests of the weight files.

    The hub's cache names each large file by its SHA-256, which saves reading it again.
    """
    whole = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        blob = file.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", blob):
            content = blob
        else:
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        whole.update(f"{file.name} {content}\n".encode())
    return whole.hexdigest()


def check_loaded(told: Mapping[str, Any]) -> None:
    """Args:
    told: what `from_pretrained` says about its loading.

    Raises:
        ConfigError: a weight is missing, has another shape, or has no place in the model.
    """
    cure = "Use the config.json that belongs to these weights, and copy all of their files."
    if missing := told["missing_keys"]:
        raise ConfigError(
            f"the checkpoint lacks {len(missing)} weights: {_some(missing)}", cure=cure
        )
    if shapes := {name: (tuple(has), tuple(wants)) for name, has, wants in told["mismatched_keys"]}:
        name = min(shapes)
        has, wants = shapes[name]
        raise ConfigError(
            f"{len(shapes)} weights of the checkpoint do not fit its config.json: {name} has the "
            f"shape {has}, and the model wants {wants}",
            cure=cure,
        )
    if unknown := told["unexpected_keys"]:
        raise ConfigError(
            f"the model of config.json has no place for {len(unknown)} weights of the checkpoint: "
            f"{_some(unknown)}",
            cure=cure,
        )


def _some(names: Collection[str]) -> str:
    return ", ".join([*sorted(names)[:NAMED], *["…"] * (len(names) > NAMED)])
