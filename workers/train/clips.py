"""The clips of a training set as the language model sees them, each decoded and looked at once.

Frames are chosen, scaled and normalised as for a caption. Kept is what the vision tower made of
them, on disk and not in memory: 1.2 MB for 4 frames of a 7B model, less than their pixels take.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch

from shared.errors import BadData, Reject
from shared.rows import Row
from workers.model.preprocess import Preprocessor
from workers.progress import Progress
from workers.train.data import first_of_pixels
from workers.train.feature_files import FeatureFiles
from workers.train.sight import Sight
from workers.video.pool import DecoderPool
from workers.video.sampling import Request
from workers.video.source import file_source

RULES = 1
"""Of sampling and scaling; raised where their code comes to choose other pixels."""
STRATEGY = "uniform"

One, Made = TypeVar("One"), TypeVar("Made")


class Clips:
    """Each by the key of its medium (`MediaRef.key`).

    Args:
        folder: what relative URIs are relative to.
        decoders: as many videos are decoded at once as it has.
        frames: at most; a shorter video gives fewer.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        folder: Path,
        decoders: DecoderPool,
        sight: Sight,
        files: FeatureFiles,
        *,
        frames: int,
        preprocessor: Preprocessor,
    ) -> None:
        self._firsts, self._folder = first_of_pixels(rows), folder
        self._decoders, self._sight, self._files = decoders, sight, files
        self._most, self._preprocessor = frames, preprocessor
        self._frames: dict[str, int] = {}
        self._names: dict[str, str] = {}
        """Key of a clip -> that of its file."""

    def prepare(self, on_clip: Callable[[int, int], None]) -> None:
        """Look at all of them, as far as there is room to keep what was seen; the rest is decoded,
        so that what cannot be read is known before anything is trained.

        Args:
            on_clip: called with (clips done, clips in all).

        Raises:
            BadData: a video cannot be read.
            OutOfResources: no decoder can be started, or the disk is full.
        """
        missing = []
        for key in self._firsts:
            known = self._files.frames(self._name(key))
            if known is None:
                missing.append(key)
            else:
                self._frames[key] = known
                on_clip(len(self._frames), len(self._firsts))
        for key, pixels in zip(missing, self._in_parallel(self.pixels, missing), strict=True):
            self._frames[key] = len(pixels)
            if not self._files.full:
                self._files.keep(self._name(key), self._sight(pixels))
            on_clip(len(self._frames), len(self._firsts))

    def frames(self, key: str) -> int:
        if key not in self._frames:
            known = self._files.frames(self._name(key))
            self._frames[key] = len(self.pixels(key)) if known is None else known
        return self._frames[key]

    def features(self, keys: Sequence[str]) -> torch.Tensor:
        """(frames of all of them, tokens of each, vision hidden), in this order."""
        found = {key: self._files.find(self._name(key)) for key in dict.fromkeys(keys)}
        missing = [key for key, features in found.items() if features is None]
        for key, pixels in zip(missing, self._in_parallel(self.pixels, missing), strict=True):
            features = found[key] = self._sight(pixels)
            self._files.keep(self._name(key), features)
        return torch.cat([features for key in keys if (features := found[key]) is not None])

    def pixels(self, key: str) -> torch.Tensor:
        """(frames, 3, crop, crop), decoded now.

        Raises:
            BadData: it cannot be read.
        """
        row = self._firsts[key]
        media = row.media
        try:
            source = file_source(self._folder / media.uri)
            with self._decoders.open(source, Progress(), self._most) as video:
                end = video.info.duration_s if media.end is None else media.end
                window = None if media.whole else (media.start or 0.0, end)
                request = Request(self._most, window, self._preprocessor.shape, STRATEGY)
                sample = video.sample(request)
        except Reject as error:
            raise BadData(
                f"row {row.id!r}: its video cannot be used: {error}",
                cure="Mend the video, or remove its rows.",
            ) from error
        return self._preprocessor(sample.frames)

    def _name(self, key: str) -> str:
        """Of all that the features of a clip depend on."""
        if key not in self._names:
            media = self._firsts[key].media
            told = [
                RULES,
                media.sha256 or _digest(self._folder / media.uri),
                media.start or 0.0,
                media.end,
                self._most,
                STRATEGY,
                asdict(self._preprocessor),
                version("av"),
                self._sight.digest,
            ]
            self._names[key] = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return self._names[key]

    def _in_parallel(self, make: Callable[[One], Made], of: Iterable[One]) -> Iterator[Made]:
        """In their order, and never many more at once than there are decoders: a set may be larger
        than memory."""
        with ThreadPoolExecutor(self._decoders.size) as pool:
            running: deque[Future[Made]] = deque()
            for one in of:
                running.append(pool.submit(make, one))
                if len(running) > self._decoders.size:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"  # decoding tells which row's it is
