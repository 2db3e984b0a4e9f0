"""Which file a data set means: by its path, or by its name alone, if only one is called so.

Data sets name their videos by paths of the machine that made them, by names alone, with or without
an ending. Knows nothing of where the files lie: it is given names and addresses.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from shared.text import composed

NOT_MEDIA = frozenset(
    {".csv", ".gz", ".json", ".jsonl", ".md", ".parquet", ".srt", ".tsv", ".txt", ".vtt", ".xml"}
)
"""What lies beside media, and may have the same name."""
IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})

NO_FILE = "its video or image is not under --media"
SEVERAL = "several files under --media are called so"
NO_ADDRESS = "its video or image is not in S3: name the place of the files with --media"


class Names:
    """Args:
    files: names under the place of the media, and their addresses for the manifest. None: the data
        set's own names are addresses already.
    """

    def __init__(self, files: Iterable[tuple[str, str]] | None) -> None:
        self._paths: dict[str, str] = {}
        self._tails: dict[str, list[str]] = defaultdict(list)
        self._known = files is not None
        for name, address in files or ():
            path = PurePosixPath(composed(name))
            if path.suffix.casefold() in NOT_MEDIA:
                continue
            self._paths[str(path)] = address
            for tail in {path.name, path.stem}:
                self._tails[tail].append(str(path))

    def find(self, name: str) -> tuple[str, None] | tuple[None, str]:
        """The address; or why there is none."""
        if name.startswith("s3://"):
            return name, None
        is_url = re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE) is not None
        if not self._known:
            if is_url or name.startswith("/"):
                return None, NO_ADDRESS
            return name, None
        wanted = PurePosixPath(composed(unquote(urlsplit(name).path) if is_url else name))
        parts = [part for part in wanted.parts if part not in ("/", ".", "..")]
        if not parts:
            return None, NO_FILE
        if found := self._paths.get("/".join(parts)):
            return found, None
        return self._by_name(parts)

    def _by_name(self, parts: list[str]) -> tuple[str, None] | tuple[None, str]:
        """Of several that are called so that one whose folders agree, too."""
        found = self._tails.get(parts[-1], [])
        depth = 2
        while len(found) > 1 and depth <= len(parts):
            tail = f"/{'/'.join(parts[-depth:])}"
            found = [one for one in found if f"/{one}".endswith(tail)]
            depth += 1
        if len(found) == 1:
            return self._paths[found[0]], None
        return None, SEVERAL if self._tails.get(parts[-1]) else NO_FILE


def is_image(address: str) -> bool:
    return PurePosixPath(address).suffix.casefold() in IMAGES
