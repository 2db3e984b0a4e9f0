"""`jamak retrain`: the trainings that feedback has brought about."""

import threading
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from producer.feedback.due import NAMED, Verdict
from producer.feedback.retrainer import Look, Retrainer
from producer.feedback.rules import MOST_BYTES, Rules, read_rules
from producer.feedback.watcher import RetrainWatcher
from producer.verbs.console import AsJson, Grid, out, print_json, warn_of
from producer.verbs.process import running
from producer.verbs.training_shown import result
from shared import telemetry
from shared.broker.apps import queues_of, train_app
from shared.broker.proofs import prove_broker, prove_producer
from shared.bucket import proofs
from shared.bucket.keys import parse_uri, retraining_folder
from shared.bucket.storage import ObjectStore, naming
from shared.bucket.stored import UNREADABLE
from shared.bucket.training import TrainingRecords
from shared.errors import ConfigError, Missing, TooLarge, UsageError
from shared.language import spoken
from shared.settings import Settings, load_settings
from shared.shown import utc
from shared.signals import GRACE_S, end_on_signal
from shared.telemetry.health import LoopHealth
from shared.telemetry.metrics import registry_of
from shared.telemetry.probes import serve
from shared.waiting import wait_for
from shared.watchdog import watch as watch_over

SHOWN = 10
"""Runs, the last ones; `--json` has all."""


def retrain(
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be started, and why; start nothing.")
    ] = False,
    rules: Annotated[
        str | None,
        typer.Option(help="A file here or in S3, instead of retraining/rules.yaml in the output."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start the trainings that feedback has brought about: each once, whoever looks.

    The rules say how much feedback starts which training (docs/loop.md).
    """
    if watch and (dry_run or as_json):
        raise UsageError(
            "--watch goes with neither --dry-run nor --json", cure="It logs what it does."
        )
    if watch:
        with running("retrainer") as (settings, store):
            _watch(settings, store, rules)
        return
    settings = load_settings()
    app, store = train_app(settings), ObjectStore(outputs=settings.all_outputs)
    found = read_rules_at(rules, store, settings)
    if found is None:
        raise UsageError(
            f"there are no rules: {_address(rules, settings)} does not exist",
            cure="docs/loop.md shows a file of them; name another with --rules.",
            argument="--rules",
        )
    if not dry_run:
        prove_producer(queues_of(app))
    told = Retrainer(settings, store, app).look(found, dry_run=dry_run)
    if as_json:
        print_json(_dump(told))
    else:
        _show(told, TrainingRecords(store, settings.output_bucket, settings.output_prefix))


def read_rules_at(address: str | None, store: ObjectStore, settings: Settings) -> Rules | None:
    """None: there are none where they lie if nobody says otherwise.

    Args:
        address: of a file; None: that of the output.

    Raises:
        UsageError: the file that was named is not there.
        ConfigError: what is there are no rules.
    """
    where = _address(address, settings)
    try:
        if where.startswith("s3://"):
            body = store.get(*parse_uri(where, "--rules"), MOST_BYTES)
        else:
            body = Path(where).read_bytes()
            if len(body) > MOST_BYTES:
                raise TooLarge(f"{where} has {len(body)} bytes; it may have {MOST_BYTES}")
    except (Missing, FileNotFoundError) as error:
        if address is None:
            return None
        raise UsageError(
            f"{where}: there is no such file", cure="Check it.", argument="--rules"
        ) from error
    except TooLarge as error:
        raise ConfigError(str(error), cure="Name a file of rules (docs/loop.md).") from error
    return read_rules(body, where, settings)


def _address(given: str | None, settings: Settings) -> str:
    folder = retraining_folder(settings.output_prefix)
    return given or f"s3://{settings.output_bucket}/{folder}rules.yaml"


def _watch(settings: Settings, store: ObjectStore, rules: str | None) -> None:
    app, stopping, health = train_app(settings), threading.Event(), LoopHealth()
    watcher = RetrainWatcher(
        Retrainer(settings, store, app, moved=health.moved),
        partial(read_rules_at, rules, store, settings),
        stopping.wait,
        health,
    )

    def stop() -> float:
        health.ending()
        stopping.set()
        return GRACE_S  # what was claimed and not sent is sent by whoever looks next

    interrupted = end_on_signal(stop)
    registry = registry_of("retrainer")
    serve(health, registry, settings.metrics_host, settings.metrics_port)
    watch_over(health.live)
    wait_for("Redis", partial(prove_broker, queues_of(app)))
    with naming("JAMAK_OUTPUT"):
        # Entries are written once.
        wait_for("S3", partial(store.prove, settings.all_outputs[0], proofs.conditions))
    telemetry.get_logger("jamak.retrainer").info("watching", rules=_address(rules, settings))
    watcher.run()
    if interrupted():
        raise KeyboardInterrupt


def _dump(told: Look) -> dict[str, object]:
    return {
        "rules": [one.dump() for one in told.verdicts],
        "started": [one.model_dump(mode="json") for one in told.started],
        "sent_again": [one.model_dump(mode="json") for one in told.sent_again],
        "runs": [one.model_dump(mode="json") for one in told.runs],
        "unreadable": [{"message": str(one), "cure": one.cure} for one in told.unread],
    }


def _show(told: Look, records: TrainingRecords) -> None:
    table = Grid("rule", "stage", "new feedback", "due", "why", title=None)
    for one in told.verdicts:
        due = spoken("yes") if one.due else spoken("no")
        why = escape("; ".join(map(spoken, one.reasons)))
        table.add_row(one.rule.name, one.rule.train.stage, _counts(one), due, why)
    out.print(table)
    _show_left_out(told.verdicts)
    if told.runs:
        runs = Grid("run", "rule", "began", "rows", "training job", "result", "why")
        for run in told.runs[-SHOWN:]:
            began = utc(run.at)
            outcome = None
            try:
                outcome = records.outcome(run.job.id)
            except UNREADABLE as unread:
                told.unread.append(unread)
            runs.add_row(
                str(run.number),
                run.rule,
                began,
                f"{run.rows:,}",
                run.job.id,
                escape(spoken(result(outcome))) if outcome else "",
                escape(spoken(run.why)),
            )
        out.print(runs)
    for run in told.sent_again:
        out.print(spoken(f"sent again: training job {run.job.id}"), highlight=False)
    for run in told.started:
        out.print(spoken(f"queued: training job {run.job.id}"), highlight=False)
    for error in told.unread:
        warn_of(str(error), error.cure)


def _counts(one: Verdict) -> str:
    """`121 of 200`, a line for each kind."""
    return "\n".join(
        f"{spoken(NAMED[kind])} {one.new.get(kind, 0):,} / {least:,}"
        for kind, least in one.rule.when.least.items()
    )


def _show_left_out(verdicts: list[Verdict]) -> None:
    counts: dict[str, int] = {}
    for one in verdicts:
        for why, count in one.left_out.items():
            counts[why] = max(count, counts.get(why, 0))
    if counts:
        table = Grid("left out", "feedback", title=None)
        for why, count in counts.items():
            table.add_row(escape(spoken(why)), f"{count:,}")
        out.print(table)
