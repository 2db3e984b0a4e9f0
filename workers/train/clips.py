"""The videos of a training set as pixels: each decoded once, kept in memory.

One clip of 4 frames at 336 px is 5.4 MB in fp32, half of it in bf16.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from shared.errors import BadData, Reject
from shared.rows import Row
from workers.model.preprocess import Preprocessor
from workers.progress import Progress
from workers.train.data import first_of_pixels
from workers.video.pool import DecoderPool
from workers.video.sampling import Request
from workers.video.source import file_source


def decode_clips(
    rows: Sequence[Row],
    folder: Path,
    decoders: DecoderPool,
    *,
    frames: int,
    preprocessor: Preprocessor,
    dtype: torch.dtype,
    on_clip: Callable[[int, int], None],
) -> dict[str, torch.Tensor]:
    """The media's key -> (frames, 3, crop, crop): the same sampling and pixels as captioning.

    Args:
        folder: what relative URIs are relative to.
        decoders: as many videos are decoded at once as it has.
        frames: at most; a shorter video gives fewer.
        on_clip: called with (clips done, clips in all).

    Raises:
        BadData: a video cannot be read.
        OutOfResources: no decoder can be started, or the disk is full.
    """
    firsts = first_of_pixels(rows)

    def decode(row: Row) -> torch.Tensor:
        if row.images or not row.media.whole:
            raise BadData(
                f"row {row.id!r}: {'an image' if row.images else 'a part of a video'} is not "
                "trained on",
                cure="Cut the part out into a video of its own, or remove the row.",
            )
        try:
            source = file_source(folder / row.media.uri)
            with decoders.open(source, Progress(), frames) as video:
                sample = video.sample(Request(frames, shape=preprocessor.shape))
        except Reject as error:
            raise BadData(
                f"row {row.id!r}: its video cannot be used: {error}",
                cure="Mend the video, or remove its rows.",
            ) from error
        return preprocessor(sample.frames).to(dtype)

    clips = {}
    with ThreadPoolExecutor(decoders.size) as pool:
        for key, pixels in zip(firsts, pool.map(decode, firsts.values()), strict=True):
            clips[key] = pixels
            on_clip(len(clips), len(firsts))
    return clips
