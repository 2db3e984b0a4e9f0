"""Lists and pairs as people type them into an environment variable: with commas, or as JSON."""

import json
from typing import Any

from pydantic import SecretStr


def parse_list(text: str) -> tuple[str, ...]:
    """`a,b` or `["a", "b"]`. Raises ValueError."""
    if not text.lstrip().startswith("["):
        given = tuple(one.strip() for one in text.split(",") if one.strip())
        if not given:
            raise ValueError("it lists nothing")
        return given
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it begins like a JSON list and is none ({error})") from error
    if not all(isinstance(one, str) for one in told):
        raise ValueError("its JSON list holds what is no text")
    return tuple(told)


def parse_pairs(text: str, form: str, start: str = "") -> dict[str, str]:
    """`a=b,…` or a JSON object.

    Args:
        form: how a pair is written, such as `s3://bucket/prefix/=s3://other/`.
        start: what the second half of a pair begins with.

    Raises:
        ValueError: it is none of both.
    """
    if text.lstrip().startswith("{"):
        told = _json_object(text)
        if not all(isinstance(to, str) for to in told.values()):
            raise ValueError("its JSON object holds what is no text")
        return told
    pairs = {}
    for one in parse_list(text):
        # A prefix may hold an equals sign: s3://bucket/day=1/
        source, equals, to = one.rpartition(f"={start}")
        if not equals:
            raise ValueError(f"{one!r} is no pair such as {form}")
        pairs[source] = f"{start}{to}"
    return pairs


def parse_numbers(text: str, form: str) -> dict[str, Any]:
    """`a=1.5,…` or a JSON object; whether these are numbers is for the setting to say. Raises as
    `parse_pairs`."""
    return _json_object(text) if text.lstrip().startswith("{") else parse_pairs(text, form)


def _json_object(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it begins like a JSON object and is none ({error})") from error


def as_typed(value: Any) -> str:
    """A setting's value as one writes it into the environment."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, dict):
        return ",".join(f"{source}={to}" for source, to in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
