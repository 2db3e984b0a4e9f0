"""The frames of a row: of a video, of a part of one, or of a still image, as captioning has them.

Knows nothing of models but the shape in which they like frames best.
"""

from pathlib import Path

from shared.errors import BadData, Reject, TooLarge
from shared.rows import Row
from workers.progress import Progress
from workers.video.pool import DecoderPool, OpenVideo
from workers.video.sampling import Request, Sample
from workers.video.shape import Shape
from workers.video.source import file_source

STRATEGY = "uniform"


def frames_of(
    row: Row, folder: Path, decoders: DecoderPool, frames: int, shape: Shape | None
) -> Sample:
    """Args:
        folder: what relative URIs are relative to.
        frames: at most; a short video gives fewer, an image one.
        shape: None = their own.

    Raises:
        BadData: they cannot be had, by the row's id.
        OutOfResources: no decoder can be started, or the disk is full.
    """
    try:
        source = file_source(folder / row.media.uri, still=bool(row.images))
        with decoders.open(source, Progress(), frames) as video:
            return sample_of(row, video, frames, shape)
    except BadData:
        raise
    except Reject as error:
        larger = error.cure if isinstance(error, TooLarge) else None
        if row.images:
            raise BadData(
                f"row {row.id!r}: its image cannot be used: {error}",
                cure=larger or "Save it as JPEG, PNG, WebP or BMP, or remove its rows.",
            ) from error
        raise BadData(
            f"row {row.id!r}: its video cannot be used: {error}",
            cure=larger or "Mend the video, or remove its rows.",
        ) from error


def sample_of(row: Row, video: OpenVideo, frames: int, shape: Shape | None) -> Sample:
    """Of a video that is open.

    Raises:
        BadData: the part begins where the video has ended; its last frame would stand for it.
        Reject: it cannot be decoded.
    """
    media = row.media
    if media.whole:
        return video.sample(Request(frames, shape=shape))
    start_s, lasts_s = media.start or 0.0, video.info.duration_s
    if start_s >= lasts_s:
        raise BadData(
            f"row {row.id!r}: its part begins at {start_s} s, and the video ends at "
            f"{lasts_s:.6g} s",
            cure="Write times within the video, in seconds, or remove the row.",
        )
    window_s = start_s, lasts_s if media.end is None else media.end
    return video.sample(Request(frames, window_s, shape))
