"""What a training sees of its clips: of films on disk, or of frames that are at hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from shared.rows import Row
from workers.model.loading import LoadedModel
from workers.train.clips import Clips
from workers.train.collate import Encoder
from workers.train.feature_files import FeatureFiles
from workers.train.sight import Sight
from workers.video.pool import DecoderPool


class Shown:
    """Clips whose frames are at hand, (frames, 3, side, side): nothing is decoded or kept."""

    def __init__(self, loaded: LoadedModel, pixels: Mapping[str, torch.Tensor]) -> None:
        self._pixels, self._sight = pixels, Sight(loaded)

    def frames(self, key: str) -> int:
        return len(self._pixels[key])

    def features(self, keys: Sequence[str]) -> list[torch.Tensor]:
        return [self._sight(self._pixels[key]) for key in keys]


def encoder_of(
    loaded: LoadedModel,
    rows: Sequence[Row],
    folder: Path,
    frames: int = 2,
    *,
    most: int = 1 << 30,
    decoders: DecoderPool | None = None,
) -> Encoder:
    """Of videos with absolute paths; what is seen of them lies in the folder.

    Args:
        most: bytes of it.
    """
    decoders = decoders or DecoderPool(1)
    files = FeatureFiles(folder / "features", most)
    clips = Clips(rows, Path("/"), decoders, loaded, files, frames=frames)
    clips.prepare(lambda done, total: None)
    return Encoder(loaded, clips)
