"""What a training says goes into the bucket, where more people read it than may see this machine:
secrets are taken out of each line, and so is where its files lie."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
"""In the name of a variable whose value nobody shall read."""
SHORTEST = 8
"""A shorter value is no secret, and might be a part of any word."""
_QUERY = re.compile(r"(https?://[^\s?#\"']+)\?[^\s\"']+")
"""A signed address opens what it names."""


class Hidden:
    """Args:
    places: folder -> the word that stands for it.
    """

    def __init__(self, places: Mapping[Path, str]) -> None:
        home = Path.home()
        self._words = {str(place): word for place, word in places.items()}
        if home.name:  # not the root: every path begins with it
            self._words[str(home)] = "~"
        secrets = {
            part
            for name, value in os.environ.items()
            if SECRET.search(name)
            for part in value.splitlines()  # a key may have several, and comes one by one
            if len(part) >= SHORTEST
        }
        # The longest first: one may begin with another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        for place, word in self._words.items():
            line = line.replace(place, word)
        return _QUERY.sub(r"\1?***", line)
