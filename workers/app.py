"""The composition root of both workers: `celery --app workers.app:captions` and `:training`.

This is the only module that reads the environment, and the only one in which work is wired up.
"""

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import celery.apps.worker
from celery import bootsteps
from celery.signals import celeryd_init, setup_logging

from shared import telemetry
from shared.broker.apps import CAPTION_TASK, TRAIN_QUEUE, caption_app, queues_of, train_app
from shared.broker.proofs import prove_captioner, prove_telling
from shared.broker.transport import VIDEO
from shared.bucket.client import TRIES_UNDER_LEASE
from shared.bucket.ledgers import TRAINER
from shared.bucket.registry import Registry
from shared.bucket.storage import (
    ObjectStore,
    naming,
)
from shared.bucket.trials import TrialPages
from shared.cards import CardChoice, choose_card, detect_gpu, served_queues
from shared.errors import ConfigError, DoesNotFit
from shared.messages import CaptionJob
from shared.prices import price_of
from shared.settings import Output, load_settings
from shared.telemetry import tracing
from shared.telemetry.logs import EX_CONFIG
from shared.telemetry.metrics import Role, registry_of
from shared.telemetry.probes import serve
from shared.tenants import Tenants
from shared.training import TrainJob
from shared.waiting import wait_for
from workers.caption.card_plan import MOST_AT_ONCE
from workers.caption.meter import Meter
from workers.delivery.drain import end_at_once
from workers.delivery.first_caption import first_caption
from workers.delivery.health import WorkerHealth
from workers.delivery.ledger import LedgerWriter
from workers.delivery.lifecycle import Lifecycle
from workers.delivery.outages import Outages
from workers.delivery.spending import Spending
from workers.delivery.started import seconds_since_start
from workers.tasks import register_caption, register_train

log = telemetry.get_logger("jamak.worker")


def send_caption(job: CaptionJob, queue: str) -> None:
    payload = job.model_dump(mode="json")
    with tracing.sending(queue, [(job.id, job.video.uri)]) as headers:
        captions.send_task(
            CAPTION_TASK,
            args=(payload,),
            queue=queue,
            task_id=job.id,
            headers={VIDEO: job.video.uri, **(headers[0] if headers else {})},
        )


class CaptionRuntime(bootsteps.StartStopStep):
    """Loads the model before the first message is taken; what cannot work does not start."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self.follower: Any = None

    def start(self, worker: Any) -> None:
        with starting():
            self._start(worker)

    def _start(self, worker: Any) -> None:
        started = time.monotonic()
        first_caption.ended("process")
        health = answering("captioner")
        choice = choose_card(settings, detect_gpu())
        log.info("card", card=choice.card.name, device=choice.device, reason=choice.reason)
        store = proven_store(settings.named_outputs)
        ledger = ledger_of(worker, choice.card.name, choice)
        # Before the model, which may take minutes.
        wait_for("Redis", partial(prove_captioner, queues_of(worker.app)))
        if settings.results:
            wait_for("Redis", partial(prove_telling, queues_of(worker.app)))
        first_caption.ended("servers")

        # Torch and transformers are loaded here: after what can be refused without them, and
        # never by the trainer's process.
        from workers.caption.captioner import EngineCaptioner
        from workers.caption.engine.size import Limits
        from workers.caption.features import Kept
        from workers.caption.fitting import checkpoint_that_fits
        from workers.caption.warmup import Cuda, enough_memory, free_after_warmup
        from workers.jobs.adapters import AdapterFollower
        from workers.jobs.caption import CaptionWork
        from workers.jobs.decoders import decoders_of, tell_isolation
        from workers.jobs.trials import Trials
        from workers.model.loading import load_model
        from workers.model.selfcheck import check_device, check_model

        first_caption.ended("imports")
        found = checkpoint_that_fits(settings, choice)
        plan = found.plan
        choice = replace(choice, dtype=plan.machine.dtype)
        with enough_memory():
            loaded = load_model(
                found.directory,
                model_id=settings.model,
                revision=settings.model_revision,
                device=choice.device,
                dtype=choice.dtype,
                quantized=choice.quantized,
                pool_stride=plan.pool_stride,
                tokenizer=found.tokenizer,
            )
            first_caption.ended("weights")
            check_model(loaded)
        if choice.device == "cuda":
            with config_error(), enough_memory():
                plan = plan.within(free_after_warmup(loaded, plan, Cuda(loaded.device)))
        for what, figure in plan.figures():
            log.info("plan", what=what, value=figure.value, reason=figure.why)
        meter = Meter()
        with enough_memory():
            captioner = EngineCaptioner(
                loaded,
                choice.card,
                rows=plan.rows.value,
                positions=plan.positions.value,
                chunk=plan.chunk.value,
                mode=settings.engine,
                meter=meter,
                limits=Limits(limits_file(), card_and_model(choice, loaded)),
            )
        first_caption.ended("warmup")
        health.engine = captioner.facts
        slots = settings.concurrency or plan.at_once
        registry = Registry(store, settings.output_bucket, settings.output_prefix)
        life = Lifecycle(
            worker,
            settings,
            served_queues(choice.card),
            health,
            slots,
            ledger=ledger,
            card=choice.card.name,
            model=loaded.identity.id,
            revision=loaded.identity.revision,
            reads=CaptionJob.model_fields["v"].default,
        )
        life.leases.outages = Outages(life.leases.pauses, ObjectStore(tries=1), settings)
        base = loaded.identity.weights_sha256
        pages = TrialPages(store, settings.output_bucket, settings.output_prefix, base)
        trials = Trials(
            pages,
            life.leases.queues.worker,
            pairs=settings.features_mib > 0,
            every_s=settings.adapter_poll_s,
        )
        life.at_end = trials.close
        trials.start()
        self.follower = AdapterFollower(
            registry,
            captioner,
            base,
            settings.adapter_poll_s,
            life.scratch,
            life.prove_scratch,
            trials,
        )
        self.follower.start()
        decoders = decoders_of(settings, settings.concurrency or plan.ahead.value, life.scratch)
        health.decoders = tell_isolation(wait_for("a decoder", decoders.prove))
        life.leases.machine.check("decoders", decoders.prove)
        life.leases.machine.check("device", partial(check_device, loaded.device), life.die)
        life.leases.machine.check("engine", captioner.prove, life.die)
        _runtime["captions"] = CaptionWork(
            settings,
            store,
            captioner,
            loaded.identity,
            choice,
            decoders,
            send_caption,
            lambda: not life.leases.taking,
            meter,
            Kept(settings.features_mib << 20),
            queues_of(captions).serving,
            trials,
        )
        _runtime["leases"] = life.leases
        seconds = round(time.monotonic() - started, 3)
        telemetry.MODEL_LOAD.set(seconds)
        log.info("model ready", model=loaded.identity.model_dump(), seconds=seconds)
        life.start()

    def stop(self, worker: Any) -> None:
        if self.follower is not None:
            self.follower.stop()


class TrainRuntime(bootsteps.StartStopStep):
    """Torch is loaded by each job's subprocess, not here."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        with starting():
            self._start(worker)

    def _start(self, worker: Any) -> None:
        from workers.jobs.decoders import decoders_of, tell_isolation
        from workers.jobs.training import TrainWork
        from workers.train.gpu import prove_gpu

        health = answering("trainer")
        device = settings.device
        if device is None and detect_gpu() is not None:
            device = "cuda"
        store = proven_store(settings.named_outputs[:1])
        ledger = ledger_of(worker, TRAINER, card_of_trainer())
        reads = TrainJob.model_fields["v"].default
        once_s = settings.train_once_s
        life = Lifecycle(
            worker, settings, [TRAIN_QUEUE], health, ledger=ledger, once_s=once_s, reads=reads
        )
        decoders = decoders_of(settings, 1, life.scratch)  # as each training will have them
        health.decoders = tell_isolation(wait_for("a decoder", decoders.prove))
        decoders.close()
        if device == "cuda":
            life.leases.machine.check("device", prove_gpu)
        life.leases.outages = Outages(life.leases.pauses, ObjectStore(tries=1), settings)
        on_device = settings.model_copy(update={"device": device})
        _runtime["training"] = TrainWork(
            on_device,
            store,
            life.scratch,
            lambda: not life.leases.taking,
            price_of(settings, card_of_trainer()),
        )
        _runtime["leases"] = life.leases
        life.start()


def limits_file() -> Path | None:
    """Where workers of this machine keep what was too much for its cards; None: nowhere. In a
    folder that everybody may write to, anybody could."""
    return settings.scratch_dir and settings.scratch_dir / "limits.json"


def card_and_model(choice: CardChoice, loaded: Any) -> str:
    """On which memory depends how much of it there is."""
    card, weights = choice.card.name, loaded.identity.weights_sha256[:12]
    stride = loaded.layout.pool_stride
    return f"{card} {choice.device} {choice.memory_bytes} {loaded.dtype} {weights} {stride}"


@contextmanager
def config_error() -> Iterator[None]:
    """What does not fit here is for the operator to change."""
    try:
        yield
    except DoesNotFit as error:
        raise ConfigError(str(error), cure=error.cure) from error


def proven_store(outputs: list[tuple[str, Output]]) -> ObjectStore:
    """A store that can do there what we rely on; waits for one that is not there yet.

    Args:
        outputs: the variable that names each, and the output.
    """
    store = ObjectStore(TRIES_UNDER_LEASE, [output for _, output in outputs])
    for variable, output in outputs:
        with naming(variable):
            for one in wait_for("S3", partial(store.prove, output)):
                log.info("store", bucket=output.bucket, can=one.name, how=one.how)
    return store


def ledger_of(worker: Any, name: str, choice: CardChoice | None) -> LedgerWriter:
    """Of this worker's time, from the start of its process; it is written from here on."""
    began = time.monotonic() - seconds_since_start()
    spending = Spending(Tenants(settings.tenants), began)
    output, store = settings.all_outputs[0], ObjectStore(tries=1)
    worker_name, price = queues_of(worker.app).worker, price_of(settings, choice)
    ledger = LedgerWriter(store, output, worker_name, name, price, spending)
    ledger.start()
    return ledger


def card_of_trainer() -> CardChoice | None:
    """None: it may train all the same."""
    try:
        return choose_card(settings, detect_gpu())
    except ConfigError:
        return None


def answering(role: Role) -> WorkerHealth:
    """Probes are answered from here on, long before the model is loaded."""
    tracing.start(role)
    health = WorkerHealth()
    serve(health, registry_of(role), settings.metrics_host, settings.metrics_port)
    return health


@contextmanager
def starting() -> Iterator[None]:
    """What cannot work ends here: say what to change, and end this process. So does a signal.

    At once: nothing has been taken yet, and an orderly end would wait for threads that wait.
    """
    end_at_once()
    gc.disable()  # to look for garbage while torch is imported takes a sixth of the time
    try:
        yield
        gc.freeze()  # nor is what has been loaded ever looked at again
        gc.enable()
    except ConfigError as error:
        log.critical("refusing to start", message=str(error), cure=error.cure)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(EX_CONFIG)


_unknown: list[str] = []
"""Warnings, until the log has its level."""
telemetry.log_everything("info")
with telemetry.refusing():
    settings = load_settings(_unknown.append)
_runtime: dict[str, Any] = {}
"""Filled by the two steps above, when their worker starts.

One of them: a process is one of the two workers."""

captions = caption_app(settings)
# Threads begin when there is work for them; how many there may be is known before the model is.
captions.conf.worker_concurrency = settings.concurrency or MOST_AT_ONCE
captions.steps["worker"].add(CaptionRuntime)
register_caption(captions, lambda: _runtime["leases"], lambda: _runtime["captions"])

training = train_app(settings)
training.conf.worker_concurrency = 1
training.steps["worker"].add(TrainRuntime)
register_train(training, lambda: _runtime["leases"], lambda: _runtime["training"])


@celeryd_init.connect(weak=False)
def _in_our_words(instance: Any, **_: Any) -> None:
    instance.quiet = True  # its banner is no log line
    # Nor is what Celery says in its signal handlers, past any logging.
    celery.apps.worker.safe_say = _say  # type: ignore[attr-defined]  # its stubs lack it


def _say(message: str, *_: Any) -> None:
    log.info("celery", message=message)


@setup_logging.connect(weak=False)
def _logging(**_: Any) -> None:
    """Celery leaves it alone then."""
    telemetry.log_everything(settings.log_level)
    for warning in _unknown:
        log.warning(warning)
