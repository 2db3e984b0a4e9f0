"""The life of a caption, top to bottom: job -> record there? -> video -> frames -> text -> still
ours? -> record.

Knows the bucket and the captioner; knows nothing of Celery.
"""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import partial
from typing import Literal, NoReturn

from shared import __version__, telemetry
from shared.bucket.records import Records
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.cards import CLASSES, GPU_CLASSES, CardChoice
from shared.errors import (
    DamagedObject,
    Draining,
    EmptyCaption,
    HandedUp,
    JamakError,
    LacksMemory,
    NewerObject,
    NoRoom,
    NotFinite,
    WrongModel,
)
from shared.messages import (
    Caption,
    CaptionJob,
    CardUsed,
    Failure,
    Flag,
    ModelIdentity,
)
from shared.results import of_caption, of_failure
from shared.settings import Settings
from shared.tenants import Tenants
from shared.units import Effort, Units
from shared.web.addresses import Addresses
from workers.caption.captioner import Captioner
from workers.caption.features import Kept
from workers.caption.meter import Meter
from workers.delivery.first_caption import first_caption
from workers.delivery.lease import Lease
from workers.jobs import drift, facts
from workers.jobs.agreement import check_address
from workers.jobs.compared import Comparison
from workers.jobs.describe import Described, Describer
from workers.jobs.fetch import Places, read_video
from workers.jobs.looks import Film, Look
from workers.jobs.parts import Parts
from workers.jobs.trials import Trials
from workers.jobs.turns import Turn, Turns
from workers.video.pool import DecoderPool
from workers.video.source import Source

Outcome = Literal["ok", "partial", "failed", "duplicate"]

log = telemetry.get_logger("jamak.caption")


class CaptionWork:
    """Everything a caption needs, handed in by the composition root. Thread-safe.

    Args:
        kept: of videos that were captioned.
        served: the queues that a live worker takes from.
        trials: of canaries; None: this worker takes no part in any.
    """

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        captioner: Captioner,
        model: ModelIdentity,
        card: CardChoice,
        decoders: DecoderPool,
        send: Callable[[CaptionJob, str], None],
        draining: Callable[[], bool],
        meter: Meter | None = None,
        kept: Kept | None = None,
        served: Callable[[], Collection[str]] = tuple,
        trials: Trials | None = None,
    ) -> None:
        self._settings, self._store, self._captioner = settings, store, captioner
        self._model, self._card = model, card
        self._places = Places(store, Addresses(settings.addresses))
        self._decoders, self._send, self._draining = decoders, send, draining
        self._served, self._turns = served, Turns()
        self._meter, self._kept = meter or Meter(), kept or Kept(0)
        self._records, self._units = Records(store, settings), Units(model.id)
        self._tenants, self._trials = Tenants(settings.tenants), trials
        self._silent: dict[str, Comparison] = {}
        """By lease: of what nothing was said, until that is recorded."""
        for outcome in ("ok", "partial", "failed"):
            # From 0 on: of a counter that begins with 1 Prometheus does not see the first.
            telemetry.CAPTIONS.labels(card.card.name, "", outcome)
        drift.begin()

    def run(self, job: CaptionJob, lease: Lease) -> Outcome:
        """Caption one video and write its record and views.

        Raises:
            LeaseLost: somebody else does it now; nothing was written.
            Retry: the work is fine, try again.
            HandedUp: it has another message, for a larger card.
            BadMessage: it says of its video what is not so; nothing is written under its name.
            Reject: it cannot succeed; the caller writes the failure, with `fail`.
        """
        check_address(job)
        first_caption.ended("waits")
        lease.say(lambda: facts.of_job(job, self._card.card.name))
        lease.weigh(self._units.of(Effort.of(job.recipe), self._card.card.name))
        started = time.monotonic()
        if self._is_done(job, lease):
            lease.account.how = "duplicates"
            telemetry.CAPTION_DUPLICATES.inc()
            log.info("already captioned", job=job.id, key=job.video.uri)
            return "duplicate"
        progress = lease.progress
        progress.ends_at = started + self._settings.caption_deadline_s
        comparison = self._comparison(job)
        try:
            with self._meter.job():
                caption = self._caption(job, lease, comparison)
            lease.account.adapter = caption.adapter.version if caption.adapter else ""
            lease.say(lambda: facts.of_caption(caption, self._records.place_of(caption)))
            progress.tick("write")
            lease.check()
            if not self._records.write(job, caption):
                lease.account.how = "duplicates"
                # Whose it is may have died before its views; or it is ours: S3's answer was lost.
                self._is_done(job, lease)
                telemetry.CAPTION_DUPLICATES.inc()
                log.info("captioned elsewhere", job=job.id, key=job.video.uri)
                return "duplicate"
            lease.account.how = "captions"
            progress.ends_at = None  # what is recorded is in time
            progress.tick("views")
            self._records.render(caption)
            self._tell(job, lease, caption)
            self._observe(lease, comparison, self._records.place_of(caption))
        finally:
            telemetry.CAPTION_BUSY.inc(time.monotonic() - started)
            for stage, spent in progress.timings_s().items():
                telemetry.CAPTION_STAGE.labels(stage).observe(spent)
        first_caption.ended("record")
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

    def _is_done(self, job: CaptionJob, lease: Lease) -> bool:
        """It has its caption, and from now on its views show what is to be shown, and who wants to
        hear of it does: whoever wrote the record may have died before that.

        Raises:
            NewerObject: a newer Jamak captioned it, and has to render it, too.
        """
        try:
            found = self._records.find(job)
        except NewerObject:
            if self._records.shows(job) and not self._settings.results:
                return True
            raise
        if found is None:
            return False
        self._records.render(found)
        self._tell(job, lease, found)
        return True

    def _tell(self, job: CaptionJob, lease: Lease, caption: Caption) -> None:
        """With the acknowledgement of its message."""
        if self._settings.results and job.recipe.decoding.draw is None:
            record = self._records.place_of(caption)
            lease.event = of_caption(job, caption, record, self._tenants.of(job.video.uri))

    def _comparison(self, job: CaptionJob) -> Comparison:
        return Comparison(self._trials.draw(job) if self._trials else None)

    def _observe(self, lease: Lease, comparison: Comparison, record: str) -> None:
        """What was published is safe by now."""
        if self._trials is not None:
            attempt, before = lease.delivery.history.attempt, partial(self._before_comparing, lease)
            comparison.observe(record, attempt, before, self._trials)

    def _before_comparing(self, lease: Lease) -> None:
        if self._draining():
            raise Draining("nothing more is compared here")
        lease.progress.ends_at = time.monotonic() + self._settings.caption_deadline_s

    def _caption(self, job: CaptionJob, lease: Lease, comparison: Comparison) -> Caption:
        recipe = job.recipe
        if (recipe.model, recipe.revision) != (self._model.id, self._model.revision):
            raise WrongModel(
                f"the job asks for {recipe.model}@{recipe.revision}, this worker has "
                f"{self._model.id}@{self._model.revision}"
            )
        tried: LacksMemory | None = None
        while True:
            try:
                return self._made(job, lease, comparison)
            except NoRoom:
                if tried is None:
                    raise
                self._hand_up(job, lease, tried)
            except LacksMemory as error:
                if not error.again:
                    self._hand_up(job, lease, error)
                tried = error

    def _hand_up(self, job: CaptionJob, lease: Lease, error: LacksMemory) -> NoReturn:
        """To a larger class of card, if one takes work now. Its message is another one, and sent
        first: whoever dies in between leaves two, and the record is written once. What workers
        died with stays here, where that is known."""
        if lease.delivery.history.workers:
            raise error
        lease.check()  # it waits for Redis, if that is away
        card, served = self._card.card.name, self._served()
        bulk = ".bulk" if lease.delivery.queue.endswith(".bulk") else ""
        for name in GPU_CLASSES[GPU_CLASSES.index("t4" if card == "cpu" else card) + 1 :]:
            queue = CLASSES[name].queue + bulk
            if queue in served:
                self._send(job.model_copy(update={"card": name}), queue)
                raise HandedUp(f"{job.video.uri} goes to class {name}: {error}") from error
        raise error

    def _made(self, job: CaptionJob, lease: Lease, comparison: Comparison) -> Caption:
        recipe, progress = job.recipe, lease.progress
        longest = self._captioner.longest(recipe.decoding)
        plan = self._captioner.plan(recipe.prompt, recipe.sampling.frames, longest)
        kills = lease.delivery.history.deaths_alone > 0
        wanted = max(1, plan.frames // 2) if kills else plan.frames
        reduced = kills or plan.reduced
        sparse_s, canary = self._settings.sparse_s, comparison.canary
        describer = Describer(self._captioner, recipe, wanted, sparse_s, progress, canary, reduced)
        try:
            with self._turns.of(progress) as turn:
                info, told = self._describe(job, lease, describer, turn)
        except (EmptyCaption, NotFinite) as error:
            # Its turn is over: what is asked now keeps no other job waiting.
            record, before = self._records.place_of_failure(job), self._before_comparing
            comparison.said_nothing(record, error.reason, describer, partial(before, lease))
            self._silent[lease.delivery.lease] = comparison
            raise
        return Caption(
            status=told.status,
            flags=(*told.flags, *self._card_flags()),
            text=told.text,
            video=job.video,
            last_modified=info.last_modified,
            duration_s=told.duration_s,
            frames=told.frames,
            tokens=told.tokens,
            recipe_id=recipe.id,
            recipe=recipe,
            model=self._model,
            adapter=told.adapter,
            card=self._card_used(),
            timings_s=progress.timings_s(),
            created_at=datetime.now(UTC),
            jamak=__version__,
            segments=told.segments,
            parting=told.parting,
            trial=comparison.made(told, describer),
        )

    def _describe(
        self, job: CaptionJob, lease: Lease, describer: Describer, turn: Turn
    ) -> tuple[ObjectInfo, Described]:
        def film(source: Source, frames: int = 8) -> Film:
            opening = partial(self._decoders.open, source, lease.progress, frames)
            return Film(job.video, self._kept, turn, opening)

        def at_once(source: Source, info: ObjectInfo) -> tuple[ObjectInfo, Look]:
            with film(source, describer.frames) as video:
                return info, describer.look(video)

        def in_parts(source: Source, info: ObjectInfo) -> tuple[ObjectInfo, Described]:
            parts = Parts(self._store, self._settings, job)
            try:
                with film(source) as video:
                    told = describer.describe_parts(
                        video,
                        parts,
                        before_each=partial(self._before_part, job, lease),
                        before_write=partial(self._before_write, lease),
                    )
                    return info, told
            finally:
                lease.advanced = parts.written > 0
                if lease.advanced:
                    lease.account.how = "parts"

        def send(newer: CaptionJob) -> None:
            self._send(newer, lease.delivery.queue)

        if job.recipe.sampling.segments is not None:
            return read_video(self._places, job, lease.progress, send, in_parts)
        info, look = read_video(self._places, job, lease.progress, send, at_once)
        told = describer.describe(look)
        lease.done = lease.units
        return info, told

    def _before_part(self, job: CaptionJob, lease: Lease, number: int, count: int) -> None:
        """What holds for a whole short video holds for each segment of a long one."""
        log.info("segment", job=job.id, key=job.video.uri, number=number, of=count)
        lease.check()
        if self._draining():
            raise Draining("the rest of its segments is for the next worker")
        lease.progress.ends_at = time.monotonic() + self._settings.caption_deadline_s

    def _before_write(self, lease: Lease, count: int) -> None:
        """Of a segment, one of so many."""
        lease.done += lease.units / count
        lease.check()

    def fail(self, job: CaptionJob, lease: Lease, error: JamakError) -> bool:
        """Write why a job cannot succeed, unless it has its caption. Its neighbours never notice.

        Returns:
            Whether it has its caption.

        Raises:
            LeaseLost: nothing was written.
            NewerObject: as `_is_done`.
        """
        comparison = self._silent.pop(lease.delivery.lease, None)
        try:
            if self._is_done(job, lease):
                return True
        except DamagedObject as damaged:
            # Its record, which is written once, is in the way of another one.
            error = damaged
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
        wrote = self._records.write_failure(job, failure)
        if wrote and comparison is not None and self._trials is not None:
            comparison.observe_nothing(self._records.place_of_failure(job), self._trials)
        if self._settings.results and job.recipe.decoding.draw is None:
            record = self._records.place_of_failure(job)
            lease.event = of_failure(job, failure, record, self._tenants.of(job.video.uri))
        card = self._card.card.name
        telemetry.CAPTIONS.labels(card, "", "failed").inc()
        telemetry.CAPTION_FAILURES.labels(card, error.reason).inc()
        log.warning(
            "rejected",
            job=job.id,
            key=job.video.uri,
            reason=error.reason,
            message=str(error),
            cure=error.cure,
        )
        return False

    def _count(self, caption: Caption) -> None:
        version = caption.adapter.version if caption.adapter else ""
        telemetry.CAPTIONS.labels(self._card.card.name, version, caption.status).inc()
        drift.count(caption)
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
