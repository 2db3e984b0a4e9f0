"""What a caption needs of a video: some of its frames, or what was kept of them.

The video is opened when something of it is wanted that is not kept. So another prompt, another draw
or the next adapter needs neither a byte of it nor a decoder. That it is still the same video is
asked each time before this (workers/jobs/fetch.py).
"""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

from shared import telemetry
from shared.messages import Colour, FramesUsed, TrackUsed, Video
from workers.caption.features import Features, Kept
from workers.jobs.turns import LONGEST_S, Turn
from workers.video.pool import OpenVideo
from workers.video.sampling import Request, Sample
from workers.video.shape import Frames

CHANGE_BYTES = 32
"""Of a float in a list."""


@dataclass(frozen=True)
class Look:
    """At some frames of a video."""

    frames: Frames | Features
    distinct: int
    """Different frames that were asked for."""
    duration_s: float
    """Of the video, or of the part of it."""
    used: FramesUsed
    keep: Callable[[Features], None] = lambda features: None
    """For the next one, in place of the frames."""


class Film:
    """One video, for one job and in one thread.

    Args:
        kept: of all videos of this worker.
        turn: of this job.
        open_video: fetches and decodes; as OpenVideo is used, so it is closed.
    """

    def __init__(
        self,
        video: Video,
        kept: Kept,
        turn: Turn,
        open_video: Callable[[], AbstractContextManager[OpenVideo]],
    ) -> None:
        # A version id only pins the read.
        self._content = (video.bucket, video.key, video.etag, video.size_bytes)
        self._kept, self._turn, self._open_video = kept, turn, open_video
        self._stack = ExitStack()
        self._opened: OpenVideo | None = None
        self._counted_bytes = 0

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def prepare(self, request: Request, sight: str) -> None:
        """Open it, if that look is not kept, and nobody else is about to keep it. Raises what is
        wrong with the whole video."""
        if self._find((*self._content, request, sight)) is None:
            self._open()

    def look(self, request: Request, sight: str) -> Look:
        """Args:
        sight: what it will be seen with.
        """
        found: Look | None = self._find((*self._content, request, sight))
        telemetry.FEATURES.labels("miss" if found is None else "hit").inc()
        if found is not None:
            return found
        sample = self._open().sample(request)
        used = self._used(sample)
        look = Look(sample.frames, sample.distinct, sample.duration_s, used)
        return replace(look, keep=partial(self._keep, request, look))

    def _find(self, key: Hashable) -> Any:
        """None: it is this job's turn to look; or others took too long."""
        if self._kept.find(key) is None and self._kept.most_bytes:
            self._turn.take(key, LONGEST_S if self._opened is None else 0.0)
        found = self._kept.find(key)
        if found is not None:
            self._turn.leave()
        return found

    def _keep(self, request: Request, look: Look, features: Features) -> None:
        # Nothing is fetched for whoever finds it.
        used = look.used.model_copy(update={"fetched_bytes": 0})
        kept = replace(look, frames=features, used=used)
        key = (*self._content, request, features.sight)
        self._kept.keep(key, kept, features.tensor.nbytes)
        self._turn.leave()

    def changes(self) -> tuple[float, list[float], str]:
        """How long it is, where its scenes change, and how that was found."""
        key = (*self._content, "changes")
        found: tuple[float, list[float], str] | None = self._find(key)
        if found is None:
            video = self._open()
            found = video.info.duration_s, *video.changes()
            self._kept.keep(key, found, CHANGE_BYTES * len(found[1]))
            self._turn.leave()
        return found

    def _open(self) -> OpenVideo:
        if self._opened is None:
            self._opened = self._stack.enter_context(self._open_video())
        return self._opened

    def _used(self, sample: Sample) -> FramesUsed:
        """The first look bears what was read to find the scenes."""
        video, decoded = self._open(), len(sample.frames)
        own_bytes = video.fetched_bytes - self._counted_bytes
        self._counted_bytes = video.fetched_bytes
        return FramesUsed(
            requested=sample.requested,
            decoded=decoded,
            timestamps_s=sample.timestamps_s,
            decode_errors=sample.decode_errors,
            targets_s=sample.targets_s,
            inexact=sample.exact.count(False),
            seconds_per_frame=round(sample.duration_s / decoded, 3),
            strategy=sample.strategy,
            reason=sample.reason,
            damage=sample.damaged,
            clock_jumps_s=sample.clock_jumps_s,
            fetched_bytes=own_bytes,
            fetched="whole" if video.whole else "ranges",
            colour=sample.colour and Colour(**vars(sample.colour)),
            deinterlaced=sample.deinterlaced,
            track=TrackUsed(**vars(sample.track)),
            aspect=sample.aspect,
        )
