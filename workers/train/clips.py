"""The clips of a training set as the language model sees them, each decoded and looked at once.

Frames are chosen, scaled and normalised as for a caption. Kept is what the vision tower made of
them, on disk and not in memory: 1.2 MB for 4 frames of a 7B model, less than their pixels take.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch

from shared.errors import BadData, OutOfResources
from shared.messages import digest
from shared.rows import Row
from shared.training_runs import Looked
from workers.model.loading import LoadedModel
from workers.train import ranks
from workers.train.data import first_of_pixels
from workers.train.feature_files import FeatureFiles
from workers.train.media import STRATEGY, frames_of
from workers.train.sight import Sight
from workers.video.pool import DecoderPool

RULES = 2
"""Of sampling and scaling; raised where their code comes to choose other pixels."""

T = TypeVar("T")


class Clips:
    """Each by the key of its medium (`MediaRef.key`).

    Args:
        folder: what relative URIs are relative to.
        decoders: as many videos are decoded at once as it has.
        loaded: takes features in place of frames from now on.
        frames: at most; a shorter video gives fewer.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        folder: Path,
        decoders: DecoderPool,
        loaded: LoadedModel,
        files: FeatureFiles,
        *,
        frames: int,
    ) -> None:
        self._firsts, self._folder = first_of_pixels(rows), folder
        self._decoders, self._files, self._most = decoders, files, frames
        self._preprocessor, self._sight = loaded.preprocessor, Sight(loaded)
        self._frames: dict[str, int] = {}
        self._unreadable: dict[str, BadData] = {}
        self._names: dict[str, str] = {}
        """Key of a clip -> that of its file."""

    def prepare(
        self,
        on_clip: Callable[[int, int], None],
        spare: Collection[str] = (),
        before: Looked | None = None,
    ) -> Mapping[str, BadData]:
        """Look at all of them, as far as there is room to keep what was seen; the rest is decoded,
        so that what cannot be read is known before anything is trained. The processes of one
        training share this work.

        Args:
            on_clip: called with (clips done, clips in all), of this process.
            spare: keys of clips that nothing fails without.
            before: what was found by whom this training goes on from. If it was of these clips it
                is believed, and none is looked at before it is wanted.

        Returns:
            Which of these cannot be read, and why.

        Raises:
            BadData: another video cannot be read.
            OutOfResources: no decoder can be started, or the disk is full.
        """
        if before is not None and before.clips_sha256 == self._digest:
            self._take_up(before)
            return self._unreadable
        try:
            self._unreadable = self._look(on_clip, spare)
        finally:
            self.close()
        return self._unreadable

    def _look(
        self, on_clip: Callable[[int, int], None], spare: Collection[str]
    ) -> dict[str, BadData]:
        def pixels(key: str) -> torch.Tensor | BadData:
            try:
                return self.pixels(key)
            except BadData as error:
                if key in spare:
                    return error
                raise

        missing, unreadable = [], {}
        for key in self._mine():
            known = self._files.frames(self._name(key))
            if known is None:
                missing.append(key)
            else:
                self._frames[key] = known
                on_clip(len(self._frames), len(self._mine()))
        for key, found in zip(missing, self._decoded(missing, pixels), strict=True):
            if isinstance(found, BadData):
                unreadable[key] = found
            else:
                self._frames[key] = len(found)
                if not self._files.full:
                    self._files.keep(self._name(key), self._sight(found))
            on_clip(len(self._frames) + len(unreadable), len(self._mine()))
        return self._with_those_of_others(unreadable)

    def _mine(self) -> list[str]:
        """Those that this process of the training looks at."""
        return list(self._firsts)[ranks.rank() :: ranks.count()]

    def _with_those_of_others(self, unreadable: Mapping[str, BadData]) -> dict[str, BadData]:
        """All processes have to learn from the same rows, and a video that is too slow to decode
        for one of them need not be for another: what one cannot read none does."""
        why = {key: (str(error), error.cure) for key, error in unreadable.items()}
        found = ranks.told_by_all([self._frames, why], "clips", self._folder)
        for frames, _ in found:
            self._frames.update(frames)
        return {
            key: BadData(message, cure=cure)
            for _, bad in found
            for key, (message, cure) in bad.items()
        }

    @property
    def looked(self) -> Looked:
        """What `prepare` found, for whoever goes on."""
        return Looked(
            clips_sha256=self._digest,
            frames=tuple(self._frames.get(key, 0) for key in self._firsts),
            unreadable={key: (str(why), why.cure) for key, why in self._unreadable.items()},
        )

    def _take_up(self, looked: Looked) -> None:
        found = zip(self._firsts, looked.frames, strict=True)
        self._frames = {key: frames for key, frames in found if frames}
        self._unreadable = {
            key: BadData(why, cure=cure) for key, (why, cure) in looked.unreadable.items()
        }

    @cached_property
    def _digest(self) -> str:
        """Of which clips these are, and of all that their number of frames depends on."""
        return digest([RULES, STRATEGY, self._most, list(self._firsts)])

    def close(self) -> None:
        """Gives back what looking takes: its processes and memory. Whoever looks again has it
        again; most trainings do not."""
        self._decoders.close()
        self._sight.close()

    def frames(self, key: str) -> int:
        if key not in self._frames:
            known = self._files.frames(self._name(key))
            self._frames[key] = len(self.pixels(key)) if known is None else known
        return self._frames[key]

    def features(self, keys: Sequence[str]) -> list[torch.Tensor]:
        """(frames, tokens of each, vision hidden), of each key.

        Raises:
            BadData: it cannot be read.
            OutOfResources: it cannot be read here and now.
        """
        found: dict[str, torch.Tensor] = {}
        for key in keys:
            if key not in found and (kept := self._files.find(self._name(key))) is not None:
                found[key] = kept
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        for key, pixels in zip(missing, self._decoded(missing, self._pixels_again), strict=True):
            found[key] = self._sight(pixels)
            self._files.keep(self._name(key), found[key])
        return [found[key] for key in keys]

    def pixels(self, key: str) -> torch.Tensor:
        """(frames, 3, crop, crop), decoded now.

        Raises:
            BadData: it cannot be read.
        """
        shape = self._preprocessor.shape
        found = frames_of(self._firsts[key], self._folder, self._decoders, self._most, shape)
        return self._preprocessor(found.frames)

    def _pixels_again(self, key: str) -> torch.Tensor:
        """What could be read before, be it by another machine, is no fault of the data."""
        try:
            return self.pixels(key)
        except BadData as error:
            if key not in self._frames:
                raise
            raise OutOfResources(f"{error}; it could be read before") from error

    def _name(self, key: str) -> str:
        """Of all that the features of a clip depend on."""
        if key not in self._names:
            media = self._firsts[key].media
            told = [
                RULES,
                media.sha256 or _sha256_of(self._folder / media.uri),
                media.start or 0.0,
                media.end,
                bool(self._firsts[key].images),
                self._most,
                STRATEGY,
                asdict(self._preprocessor),
                version("av"),
                self._sight.digest,
            ]
            self._names[key] = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return self._names[key]

    def _decoded(self, keys: Iterable[str], pixels: Callable[[str], T]) -> Iterator[T]:
        """Those of each, in their order, and never of many more at once than there are
        decoders: a set may be larger than memory."""
        with ThreadPoolExecutor(self._decoders.size) as pool:
            running: deque[Future[T]] = deque()
            for key in keys:
                running.append(pool.submit(pixels, key))
                if len(running) > self._decoders.size:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"  # decoding tells which row's it is
