"""`jamak adapters watch`: ends the trials of canaries by what their captions show."""

import os
import platform
import secrets
import threading
import time
from collections.abc import Iterable
from functools import partial

from prometheus_client.metrics_core import Metric

from producer.canary.lease import Lease
from producer.canary.watcher import Watcher
from producer.canary.weighing import ARMS
from producer.verbs.process import running
from shared import telemetry
from shared.bucket import proofs
from shared.bucket.storage import ObjectStore, naming
from shared.settings import Settings
from shared.signals import GRACE_S, end_on_signal
from shared.telemetry import metrics
from shared.telemetry.metrics import registry_of
from shared.telemetry.probes import serve
from shared.telemetry.reading import Reading
from shared.waiting import wait_for
from shared.watchdog import watch as watch_over

log = telemetry.get_logger("jamak.watcher")


def adapters_watch() -> None:
    """Promote canaries that are not worse, and roll back those that are, until stopped."""
    with running("watcher") as (settings, store):
        _watch(settings, store)


def _watch(settings: Settings, store: ObjectStore) -> None:
    stopping = threading.Event()
    name = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
    lease = Lease(store, settings.output_bucket, settings.output_prefix, name)
    watcher = Watcher(store, settings, lease, stopping.wait)

    def stop() -> float:
        watcher.health.ending()
        stopping.set()
        return GRACE_S  # a lease that is not given back is followed all the same

    interrupted = end_on_signal(stop)
    registry = registry_of("watcher", trials_reading(watcher))
    serve(watcher.health, registry, settings.metrics_host, settings.metrics_port)
    watch_over(watcher.health.live)
    with naming("JAMAK_OUTPUT"):
        # What is known of a trial, and the pointer, move by compare-and-swap.
        wait_for("S3", partial(store.prove, settings.all_outputs[0], proofs.conditions))
    log.info("watching", output=settings.output, as_=name)
    watcher.run()
    if interrupted():
        raise KeyboardInterrupt


def trials_reading(watcher: Watcher) -> Reading:
    """Of those that it watches."""
    return Reading("trials", lambda: _families(watcher), fresh_s=0.0)


def _families(watcher: Watcher) -> Iterable[Metric]:
    captions, age = metrics.TRIAL_WEIGHED.family(), metrics.TRIAL_AGE.family()
    for one in watcher.trials:
        seconds = time.time() - one.state.since.timestamp()
        age.add_metric([one.base, one.state.version], seconds)
        for arm in ARMS:
            side = one.state.side(arm)
            captions.add_metric([one.base, arm, "bad"], side.bad)
            captions.add_metric([one.base, arm, "good"], side.captions - side.bad)
    return captions, age
