"""The life of a caption, top to bottom: job -> record there? -> video -> frames -> text -> still
ours? -> record.

Knows the bucket and the captioner; knows nothing of Celery.
"""

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from shared import __version__, telemetry
from shared.cards import CardChoice
from shared.errors import EmptyCaption, EmptyFile, JamakError, TooLarge, WrongModel
from shared.messages import (
    Caption,
    CaptionJob,
    CardUsed,
    Failure,
    Flag,
    FramesUsed,
    ModelIdentity,
    TokensUsed,
)
from shared.records import Records
from shared.settings import Settings
from shared.storage import ObjectStore
from workers.caption.captioner import Captioner
from workers.caption.checks import check_text
from workers.delivery.fetch import fetch_video
from workers.delivery.leases import Lease
from workers.video.sampling import Limits, sample_frames

Outcome = Literal["ok", "partial", "failed", "duplicate"]

log = telemetry.get_logger("jamak.caption")


class CaptionWork:
    """Everything a caption needs, handed in by the composition root. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        captioner: Captioner,
        model: ModelIdentity,
        card: CardChoice,
        scratch: Path,
        send: Callable[[CaptionJob, str], None],
    ) -> None:
        self._settings, self._store, self._captioner = settings, store, captioner
        self._model, self._card = model, card
        self._scratch, self._send = scratch, send
        self._records = Records(store, settings)
        self._limits = Limits(settings.max_pixels, settings.decode_deadline_s)

    def run(self, job: CaptionJob, lease: Lease) -> Outcome:
        """Caption one video and write its record and views.

        Raises:
            LeaseLost: somebody else does it now; nothing was written.
            Retry: the work is fine, try again.
            Reject: it cannot succeed; the caller writes the failure, with `fail`.
        """
        started = time.monotonic()
        found = self._records.find(job)
        if found is not None:
            self._records.render(found)
            telemetry.CAPTION_DUPLICATES.inc()
            log.info("already captioned", job=job.id, key=job.video.uri)
            return "duplicate"
        progress = lease.progress
        progress.ends_at = started + self._settings.caption_deadline_s
        try:
            caption = self._caption(job, lease)
            progress.tick("write")
            lease.check()
            if not self._records.write(job, caption):
                # Whose it is may have died before its views; or it is ours: S3's answer was lost.
                self._render_found(job)
                telemetry.CAPTION_DUPLICATES.inc()
                log.info("captioned elsewhere", job=job.id, key=job.video.uri)
                return "duplicate"
            self._records.render(caption)
        finally:
            telemetry.CAPTION_BUSY.inc(time.monotonic() - started)
            for stage, spent in progress.timings_s().items():
                telemetry.CAPTION_STAGE.labels(stage).observe(spent)
        self._count(caption)
        log.info(
            "captioned",
            job=job.id,
            key=job.video.uri,
            status=caption.status,
            flags=caption.flags,
            adapter=caption.adapter.version if caption.adapter else None,
            frames=caption.frames.decoded,
            seconds=round(time.monotonic() - started, 3),
            stages=progress.timings_s(),
        )
        return caption.status

    def _render_found(self, job: CaptionJob) -> None:
        found = self._records.find(job)
        if found is not None:
            self._records.render(found)

    def _caption(self, job: CaptionJob, lease: Lease) -> Caption:
        recipe, video, progress = job.recipe, job.video, lease.progress
        if (recipe.model, recipe.revision) != (self._model.id, self._model.revision):
            raise WrongModel(
                f"the job asks for {recipe.model}@{recipe.revision}, this worker has "
                f"{self._model.id}@{self._model.revision}"
            )
        if video.size_bytes == 0:
            raise EmptyFile(f"{video.uri} has 0 bytes", size_bytes=0)
        if video.size_bytes > self._settings.max_video_bytes:
            raise TooLarge(
                f"{video.uri} has {video.size_bytes} bytes; "
                f"{self._settings.max_video_bytes} are the most",
                size_bytes=video.size_bytes,
                max_video_bytes=self._settings.max_video_bytes,
            )
        plan = self._captioner.plan(
            recipe.prompt, recipe.sampling.frames, recipe.decoding.max_new_tokens
        )
        reduced = lease.delivery.history.deaths_alone > 0
        wanted = max(1, plan.frames // 2) if reduced else plan.frames
        with tempfile.TemporaryDirectory(dir=self._scratch, ignore_cleanup_errors=True) as made:
            # A neutral name: a key may hold anything, and be longer than a file's name may.
            path = Path(made) / "video"
            info = fetch_video(
                self._store,
                job,
                path,
                progress,
                lambda newer: self._send(newer, lease.delivery.queue),
            )
            progress.tick("frames")
            sample = sample_frames(path, wanted, self._limits, progress)
        answer = self._captioner.caption(sample.frames, recipe.prompt, recipe.decoding, progress)
        progress.tick("check")
        status, flags = check_text(
            answer.text,
            finished=answer.finished,
            frames_found=len(sample.frames),
            frames_expected=sample.distinct,
        )
        return Caption(
            status=status,
            flags=(*flags, *(("reduced",) if reduced else ()), *self._card_flags()),
            text=answer.text,
            video=video,
            last_modified=info.last_modified,
            duration_s=round(sample.duration_s, 6),
            frames=FramesUsed(
                requested=wanted,
                decoded=len(sample.frames),
                timestamps_s=sample.timestamps_s,
                decode_errors=sample.decode_errors,
            ),
            tokens=TokensUsed(
                visual=answer.visual_tokens,
                prompt=answer.prompt_tokens,
                generated=answer.generated_tokens,
            ),
            recipe_id=recipe.id,
            recipe=recipe,
            model=self._model,
            adapter=answer.adapter,
            card=self._card_used(),
            timings_s=progress.timings_s(),
            created_at=datetime.now(UTC),
            jamak=__version__,
        )

    def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> None:
        """Write why a job cannot succeed, unless it has its caption. Its neighbours never notice.

        Raises:
            LeaseLost: nothing was written.
        """
        if self._records.find(job) is not None:
            return
        flags: tuple[Flag, ...] = ("empty",) if isinstance(error, EmptyCaption) else ()
        failure = Failure(
            flags=(*flags, *self._card_flags()),
            reason=error.reason,
            message=str(error),
            cure=error.cure,
            evidence=error.evidence,
            video=job.video,
            recipe_id=job.recipe.id,
            recipe=job.recipe,
            card=self._card_used(),
            least=job.card,
            backlog=job.backlog,
            attempts=lease.delivery.history.attempt,
            created_at=datetime.now(UTC),
            jamak=__version__,
        )
        lease.check()
        self._records.write_failure(job, failure)
        telemetry.CAPTIONS_DONE.labels(self._card.card.name, "", "failed").inc()
        log.warning(
            "rejected",
            job=job.id,
            key=job.video.uri,
            reason=error.reason,
            message=str(error),
            cure=error.cure,
        )

    def _count(self, caption: Caption) -> None:
        version = caption.adapter.version if caption.adapter else ""
        telemetry.CAPTIONS_DONE.labels(self._card.card.name, version, caption.status).inc()
        telemetry.CAPTION_E2E.observe((caption.created_at - caption.last_modified).total_seconds())
        for kind, count in caption.tokens.model_dump().items():
            telemetry.CAPTION_TOKENS.labels(kind).inc(count)

    def _card_flags(self) -> tuple[Flag, ...]:
        return ("emulated",) if self._card.emulated else ()

    def _card_used(self) -> CardUsed:
        return CardUsed(
            name=self._card.card.name,
            device=self._card.device,
            dtype=self._card.dtype,
            quantized=self._card.quantized,
        )
