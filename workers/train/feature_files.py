"""Features on disk: of a bounded size, for the next epoch and for the next job on this machine.

One safetensors file for each clip, written under a temporary name. Several processes may use one
folder. Knows nothing of clips: whoever keeps something says by a key what it is of.
"""

import os
import re
import time
import zlib
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from shared.telemetry import get_logger

NAME, SUM = "features", "crc32"
SUFFIX, PART = ".safetensors", ".part"
KEY = re.compile("[0-9a-f]{64}")
COUNT_AGAIN_S = 10.0
"""Others write here, too: the folder is looked through before anything is thrown away, and not more
often than this."""
LEFT_S = 3600.0
"""A temporary file that is older was left by a process that died."""

log = get_logger("jamak.train")


class FeatureFiles:
    """For many threads and processes.

    What was used longest ago goes first, but nothing that was used since this process began: a set
    that is larger than its room would push itself out, and no epoch would find a thing.

    Args:
        most_bytes: 0 = nothing is kept.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        self._began = time.time()
        self._checked: set[str] = set()
        self._bytes = 0
        self._counted = -COUNT_AGAIN_S
        self.full = most_bytes == 0
        """Nothing more can be kept."""
        if not self.full:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def frames(self, key: str) -> int | None:
        """Of what is kept under it; None: nothing. It counts as used."""
        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                frames = int(file.get_slice(NAME).get_shape()[0])
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, IndexError) as error:
            self._drop(path, error)
            return None
        return frames

    def find(self, key: str) -> torch.Tensor | None:
        """(frames, tokens of each, vision hidden); None: nothing is kept under it any more. It
        counts as used."""
        path = self._path(key)
        try:
            # Not mapped: whoever shortens or loses the file later would end this process.
            body = path.read_bytes()
            found = load(body)[NAME]
            if key not in self._checked:
                with safe_open(path, "pt") as file:
                    told = (file.metadata() or {}).get(SUM)
                if told != _sum_of(found):
                    self._drop(path, "its content is not what was written")
                    return None
                self._checked.add(key)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, LookupError) as error:
            self._drop(path, error)
            return None
        return found

    def keep(self, key: str, features: torch.Tensor) -> None:
        """Nothing happens where there is no room for it: then it is computed again."""
        if self.full:
            return
        body = save({NAME: features.contiguous()}, {SUM: _sum_of(features)})
        try:
            if not self._has_room(len(body)):
                self.full = True
                log.info("no more features are kept", folder=str(self._folder), bytes=self._bytes)
                return
            path = self._path(key)
            part = path.with_name(f"{key}.{os.getpid()}{PART}")
            part.write_bytes(body)
            part.replace(path)
        except OSError as error:  # a full disk, most likely: a training goes on without
            self.full = True
            log.warning("features cannot be kept", folder=str(self._folder), message=str(error))
            return
        self._bytes += len(body)

    def _path(self, key: str) -> Path:
        assert KEY.fullmatch(key), key
        return self._folder / f"{key}{SUFFIX}"

    def _has_room(self, size: int) -> bool:
        if time.monotonic() - self._counted < COUNT_AGAIN_S and self._bytes + size <= self._most:
            return True
        files = self._counted_anew()
        for used, path, bytes_ in sorted(files):
            if self._bytes + size <= self._most or used >= self._began:
                break
            path.unlink(missing_ok=True)
            self._bytes -= bytes_
        return self._bytes + size <= self._most

    def _counted_anew(self) -> list[tuple[float, Path, int]]:
        """When it was used last, the file, its bytes."""
        files = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    told = entry.stat()
                    if entry.name.endswith(SUFFIX):
                        files.append((told.st_mtime, Path(entry.path), told.st_size))
                    elif entry.name.endswith(PART) and told.st_mtime < time.time() - LEFT_S:
                        Path(entry.path).unlink()
        self._bytes = sum(size for _, _, size in files)
        self._counted = time.monotonic()
        return files

    def _drop(self, path: Path, why: object) -> None:
        log.warning("kept features cannot be read", file=path.name, message=str(why))
        with suppress(OSError):
            path.unlink()


def _sum_of(features: torch.Tensor) -> str:
    content = features.contiguous().view(-1).view(torch.uint8).numpy()
    return f"{zlib.crc32(content.data):08x}"
