"""The videos of a training set as pixels: each decoded once, kept in memory.

One clip of 4 frames at 336 px is 5.4 MB in fp32, half of it in bf16.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from shared.errors import BadData, Reject
from workers.model.preprocess import Preprocessor
from workers.train.data import Row, first_rows
from workers.video.sampling import sample_frames


def decode_clips(
    rows: Sequence[Row],
    folder: Path,
    *,
    frames: int,
    preprocessor: Preprocessor,
    dtype: torch.dtype,
    on_clip: Callable[[int, int], None],
) -> dict[str, torch.Tensor]:
    """The video's URI -> (frames, 3, crop, crop): the same sampling and pixels as captioning.

    Args:
        folder: what relative URIs are relative to.
        frames: at most; a shorter video gives fewer.
        on_clip: called with (clips done, clips in all).

    Raises:
        BadData: a video cannot be read.
    """
    firsts = first_rows(rows)

    def decode(row: Row) -> torch.Tensor:
        try:
            sample = sample_frames(folder / row.video.uri, frames, shape=preprocessor.shape)
        except Reject as error:
            raise BadData(
                f"row {row.id!r}: its video cannot be used: {error}",
                cure="Mend the video, or remove its rows.",
            ) from error
        return preprocessor(sample.frames).to(dtype)

    clips = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for uri, pixels in zip(firsts, pool.map(decode, firsts.values()), strict=True):
            clips[uri] = pixels
            on_clip(len(clips), len(firsts))
    return clips
