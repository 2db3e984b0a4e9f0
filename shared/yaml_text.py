"""YAML that people write: what is in it, or an error that names the file."""

from typing import Any

import yaml

from shared.errors import ConfigError


def read_yaml(body: bytes, name: str, cure: str) -> Any:
    """Values alone: no tag of a file makes an object.

    Raises:
        ConfigError: it is none, or nested too deeply to be read.
    """
    try:
        return yaml.safe_load(body)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise ConfigError(f"{name} is no YAML: {told}", cure=cure) from error
