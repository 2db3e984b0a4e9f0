"""Whose a video is: each tenant has one or more prefixes, and a weight.

The weight says how much of a card class a tenant gets while others want it, too. Knows nothing of
queues and costs.
"""

import math
import re
from collections.abc import Mapping

from shared.errors import ConfigError

OTHER = "other"
"""Whose prefix is named nowhere. It may be named, too, to give it a weight."""
FORM = "s3://bucket/prefix/=name,s3://bucket/another/=name:3,… or a JSON object"
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1000.0
"""A tenant of the least weight shall still be noticed beside one of the most; and a turn of the one
shall not move it so far back that a turn of the other is lost in rounding."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


class Tenants:
    """Args:
        told: prefix -> `name` or `name:weight`, as JAMAK_TENANTS has them.

    Raises:
        ConfigError: one of them is none.
    """

    def __init__(self, told: Mapping[str, str]) -> None:
        self._names: dict[str, str] = {}
        self.weights: dict[str, float] = {}
        """Name -> weight, of all tenants, `other` among them."""
        for prefix, text in told.items():
            name, colon, weight = text.partition(":")
            self._names[_prefix(prefix)] = _name(name)
            if colon:
                self._weigh(name, _weight(weight))
        for name in (*self._names.values(), OTHER):
            self.weights.setdefault(name, 1.0)
        # Of two that differ by their last slash alone the longer one counts.
        places = sorted(self._names.items(), key=lambda one: len(one[0]))
        self._folders = {place.removesuffix("/"): name for place, name in places}

    def of(self, uri: str) -> str:
        """The tenant of a video, by its address: `s3://bucket/key`, or `https://host/path`."""
        if uri in self._names:
            return self._names[uri]
        # Upwards, folder by folder: a thousand tenants take no longer than one.
        at = uri.rfind("/")
        while at >= 0:
            if uri[:at] in self._folders:
                return self._folders[uri[:at]]
            at = uri.rfind("/", 0, at)
        return OTHER

    def _weigh(self, name: str, weight: float) -> None:
        if self.weights.setdefault(name, weight) != weight:
            raise ConfigError(
                f"the tenant {name} has two weights: {self.weights[name]:g} and {weight:g}",
                cure="Write a tenant's weight once.",
            )


def _prefix(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme not in ("s3", "https", "http", "file") or not rest:
        raise ConfigError(
            f"{text!r} is no prefix of videos",
            cure="Write s3://bucket/, s3://bucket/prefix/ or https://host/folder/.",
        )
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ConfigError(
            f"{text!r} is no name of a tenant",
            cure="Use at most 63 lower case letters, digits, dots and hyphens.",
        )
    return text


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise ConfigError(
            f"{text!r} is no weight of a tenant",
            cure="Write a number from 0.001 to 1000.",
        )
    return weight
