"""Where a checkpoint is, and how large its model would be before it is fetched. Knows no torch."""

from collections.abc import Sequence
from pathlib import Path

from shared.errors import ConfigError
from workers.model.geometry import HUB, KNOWN, Geometry


def find_geometry(model: str, revision: str, path: Path | None) -> Geometry:
    """Of a model: from its directory, from what is known of published ones, or else from its
    config.json alone, which is small.

    Raises:
        ConfigError: it is nowhere to be found, or says nothing about sizes.
    """
    if path is None and model in HUB:
        return KNOWN[HUB[model]]
    return Geometry.read(path or _fetched(model, revision, ["config.json"]))


def find_checkpoint(model: str, revision: str, path: Path | None) -> Path:
    """The local directory of a checkpoint; fetched from the hub if it is not cached.

    Raises:
        ConfigError: it is nowhere to be found.
    """
    if path is None:
        return _fetched(model, revision, ["*.json", "*.safetensors", "*.model"])
    if not (path / "config.json").exists():
        raise ConfigError(
            f"{path} holds no config.json",
            cure="Set JAMAK_MODEL_PATH to a directory made by save_pretrained.",
        )
    return path


def find_words(model: str, revision: str, path: Path | None) -> Path:
    """The local directory of a checkpoint's tokenizer and sizes, which is small: no weights are
    fetched.

    Raises:
        ConfigError: it is nowhere to be found.
    """
    return path or _fetched(model, revision, ["*.json", "*.model"])


def _fetched(model: str, revision: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download  # takes long to load, and a path needs none

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # the hub client has many; all mean the same here
        raise ConfigError(
            f"the checkpoint {model} (revision {revision}) is neither cached nor reachable: "
            f"{error}",
            cure="Set JAMAK_MODEL_PATH to a local copy, or check JAMAK_MODEL and the network.",
        ) from error
