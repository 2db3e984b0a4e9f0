"""How many workers are wanted: served for whoever starts and ends them, and explained to people."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from producer.backlog.deadlines import Deadlines
from producer.scaling.answers import TRAIN, Answers, Look, look_once
from producer.scaling.demand import Outside
from producer.scaling.outside import Uploads
from producer.scaling.pods import Cluster, Pods
from producer.scaling.policy import figure
from producer.scaling.scale_in import ScaleIn
from producer.scaling.serve import Scaler, page_of, readings_of
from producer.uploads.sqs import sqs_client
from producer.verbs.console import AsJson, Grid, out, print_json, warn
from producer.verbs.process import running
from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues, train_prefix
from shared.broker.held import Holds
from shared.broker.proofs import prove_holder, prove_weigher
from shared.bucket.storage import ObjectStore
from shared.errors import ConfigError, UsageError
from shared.language import spoken
from shared.settings import Settings, load_settings
from shared.signals import GRACE_S, end_on_signal
from shared.telemetry.metrics import registry_of
from shared.telemetry.probes import serve as serve_probes
from shared.waiting import wait_for
from shared.watchdog import watch

scale = typer.Typer(no_args_is_help=True, help="How many workers are wanted, and why.")

log = telemetry.get_logger("jamak.scale")


@scale.command("serve")
def serve() -> None:
    """Answer KEDA and Prometheus how many workers are wanted, until stopped."""
    with running("scaler") as (settings, _):
        _serve(settings)


def _serve(settings: Settings) -> None:
    """Raises ConfigError: nobody could ask."""
    if not settings.metrics_port:
        raise ConfigError(
            "JAMAK_METRICS_PORT is 0, so nobody could ask how many workers are wanted",
            cure="Give it a port, and in a container JAMAK_METRICS_HOST=0.0.0.0.",
        )
    cluster = Cluster.here()
    log.info("pods", told=cluster is not None, api_server=cluster and cluster.url)
    captions = leased_queues(settings, caption_prefix(settings))
    scale_in = ScaleIn(Pods(cluster).set_costs, Holds(captions)) if cluster else None
    before = scale_in.prepare if scale_in else lambda found: found
    answers = Answers(looking(settings), settings.visibility_timeout_s, before)
    ending = threading.Event()
    scaler = Scaler(answers, ending.wait)

    def stop() -> float:
        scaler.health.ending()
        ending.set()
        return GRACE_S

    interrupted = end_on_signal(stop)
    serve_probes(
        scaler.health,
        registry_of("scaler", *readings_of(answers)),
        settings.metrics_host,
        settings.metrics_port,
        page_of(answers, settings),
    )
    watch(scaler.health.live)
    wait_for("Redis", partial(prove_weigher, captions))
    if cluster is not None:
        prove_holder(captions)
    log.info("scaling", classes=settings.scale_classes, slo_s=settings.slo_s)
    scaler.run()
    if interrupted():
        raise KeyboardInterrupt


@scale.command("explain")
def explain(
    name: Annotated[
        str | None, typer.Argument(metavar="CLASS", help="A card class, or train; none = all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The sum line by line: what there is to do, over what a worker does in a second."""
    settings = load_settings()
    names = (*settings.scale_classes, TRAIN)
    if name is not None and name not in names:
        raise UsageError(
            f"{name} is no class that is scaled",
            cure=f"Name one of {', '.join(names)} (JAMAK_SCALE_CLASSES).",
            argument="CLASS",
        )
    found = looking(settings)()
    told = [one for one in found.answers.values() if name in (None, one.name)]
    if as_json:
        print_json({"classes": [one.dump() for one in told], "unknown": found.unknown})
        return
    for one in told:
        table = Grid("figure", "value", "why", title=f"{one.name}: {one.wanted.replicas}")
        for what, value, how in one.wanted.sums:
            table.add_row(spoken(what), figure(value), escape(spoken(how)))
        out.print(table)
        out.print(spoken(f"live workers: {one.running}"), highlight=False)
    for what, why in found.unknown.items():
        warn(f"{what}: {why}")


def looking(settings: Settings) -> Callable[[], Look]:
    """At everything, each time that it is called."""
    captions = leased_queues(settings, caption_prefix(settings))
    training = leased_queues(settings, train_prefix(settings))
    url = settings.events_queue_url
    uploads = Uploads(sqs_client(), url) if url else None
    deadlines = Deadlines(ObjectStore(), settings, captions)

    def look() -> Look:
        outside = uploads.look() if uploads else Outside()
        return look_once(settings, captions, training, deadlines.unfed(), outside)

    return look
