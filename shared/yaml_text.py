"""YAML that people write: what is in it, or an error that names the file and what was meant."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

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


def fault_of(error: ValidationError, words: Sequence[str]) -> str:
    """Where what people wrote is no such thing, and why. A misspelt word is told before what is
    missing for it.

    Args:
        words: all that may stand there, in any part of it.
    """
    faults = error.errors()
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    *above, name = map(str, fault["loc"] or ("",))
    if fault["type"] == "missing" and isinstance(fault["input"], dict):
        given = [str(one) for one in fault["input"] if one not in words]
        if near := get_close_matches(name, given, n=1):
            return unknown_word(".".join([*above, near[0]]), near[0], [name])
    where = ".".join([*above, name])
    if fault["type"] == "extra_forbidden":
        return unknown_word(where, name, words)
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])


def unknown_word(where: str, word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"{where}: nobody knows this word" + (f"; did you mean {near[0]}?" if near else "")
