"""The operator's verbs for captions: each reads the settings, does one thing, and shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from producer.bucket.captions import newest
from producer.scaling.answers import TRAIN
from producer.verbs.console import AsJson, Grid, err, out, print_json, warn, warn_of
from producer.verbs.failures import show_failure
from producer.verbs.process import running
from producer.verbs.status import read_status, unserved
from shared.broker.apps import caption_prefix, leased_queues
from shared.bucket.keys import parse_uri, place_of
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.cards import CLASSES, choose_card, detect_gpu, served_queues
from shared.errors import Unfinished, UsageError
from shared.language import spoken
from shared.messages import Caption, Failure
from shared.settings import load_settings
from shared.shown import utc

SHOWN_FRAMES = 32
SHORT = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}


def show_cards(as_json: AsJson = False) -> None:
    """The card classes, and which one this machine would be, and why."""
    settings = load_settings()
    choice = choose_card(settings, detect_gpu())
    if as_json:
        print_json(
            {
                "here": choice.card.name,
                "device": choice.device,
                "dtype": choice.dtype,
                "emulated": choice.emulated,
                "reason": choice.reason,
                "queues": served_queues(choice.card),
            }
        )
        return
    table = Grid("class", "memory", "frames", "tokens", "weights", "compute", "queue", "here")
    for card in CLASSES.values():
        table.add_row(
            card.name,
            f"{card.memory_gb} GB" if card.memory_gb else "-",
            str(card.frames),
            f"{card.visual_tokens:,}",
            "NF4" if card.quantized else SHORT[card.dtype],
            SHORT[card.dtype],
            card.queue,
            "←" if card is choice.card else "",
        )
    out.print(table)
    where = f"{choice.card.name} on {choice.device} with {choice.dtype}"
    emulated = " (emulated)" if choice.emulated else ""
    out.print(spoken(f"This machine: {where}{emulated}: {choice.reason}"))
    out.print(spoken(f"It would serve: {', '.join(served_queues(choice.card))}"))


def listen() -> None:
    """Turn S3 events from SQS into jobs, until stopped."""
    from producer.uploads.listen import listen_until_stopped  # what only this verb needs

    with running("listener") as (settings, store):
        listen_until_stopped(settings, store, leased_queues(settings, caption_prefix(settings)))


def status(as_json: AsJson = False) -> None:
    """What waits and why, who serves it, which adapters are in use."""
    settings = load_settings()
    found = read_status(settings)
    if as_json:
        print_json(found)
        return
    table = Grid("queue", "waiting", "to run alone", "workers", "why they wait")
    for name, queue in found["queues"].items():
        why = [f"{wait['jobs']:,}: {spoken(wait['message'])}" for wait in queue["why"]]
        if name in found["sampled"] and queue["looked_at"]:
            why.insert(0, spoken(f"of the first {queue['looked_at']:,}:"))
        counts = f"{queue['waiting']:,}", f"{queue['alone']:,}", str(len(queue["workers"]))
        table.add_row(name, *counts, escape("\n".join(why)))
    out.print(table)
    for name, queue in found["queues"].items():
        if queue["tenants"]:
            whose = ", ".join(f"{count:,} {tenant}" for tenant, count in _most(queue["tenants"]))
            out.print(spoken(f"waiting in {name}, by tenant: {whose}"), highlight=False)
    for what, counts in (
        ("in flight", found["in_flight"]),
        ("waiting for another try, or handed on", found["delayed"]),
        ("set aside, see `jamak poison list`", found["poison"]),
    ):
        trainings = counts.get("training", "?")
        out.print(spoken(f"{what}: {counts['captions']} captions, {trainings} training jobs"))
    results = found["results"]
    if results["to"] or results.get("waiting"):
        waiting, dropped = results.get("waiting", "?"), results.get("dropped", "?")
        out.print(spoken(f"results to be told: {waiting} wait, {dropped} were dropped"))
    if results.get("why"):
        warn(f"results cannot be told: {results['why']}")
    if found["hidden"]:
        out.print(spoken("?: this user of Redis may not look at training"))
    show_wanted(found["scale"])
    if going := [worker["name"] for worker in found["workers"] if worker.get("held")]:
        out.print(spoken(f"are to go, and take nothing more: {', '.join(going)}"), highlight=False)
    for adapter in found["adapters"]:
        version = adapter["version"] or "none"
        out.print(spoken(f"adapter of base {adapter['base']}: {version}"))
    for message in unserved(found):
        warn(message)
    for one in found["unreadable"]:
        warn_of(one["message"], one["cure"])


def _most(tenants: dict[str, int]) -> list[tuple[str, int]]:
    """Those with the most messages, as many as a line holds."""
    return sorted(tenants.items(), key=lambda one: -one[1])[:20]


def show_wanted(scale: dict[str, Any]) -> None:
    """Of each class that has workers, or wants some."""
    told = [one for one in scale["classes"] if one["wanted"] or one["running"]]
    if told:
        table = Grid("class", "wanted", "running", "why")
        for one in told:
            counts = str(one["wanted"]), str(one["running"])
            table.add_row(one["class"], *counts, escape(spoken(one["reason"])))
        out.print(table)
    for what, why in scale["unknown"].items():
        if what != TRAIN:  # that this user may not see it is told already
            warn(f"{what}: {why}")


VideoAt = Annotated[str, typer.Argument(help="s3://bucket/key of the video")]


def show(uri: VideoAt, as_json: AsJson = False) -> None:
    """The caption of a video, how it was made and where it lies."""
    bucket, key = video_at(uri)
    settings, store = load_settings(), ObjectStore()
    found = newest(store, settings, bucket, key)
    if isinstance(found, Failure):
        if not as_json:
            show_failure(found)
        raise no_caption(found)
    records = Records(store, settings)
    record, views = records.place_of(found), records.places_of_views(bucket, key)
    if as_json:
        print_json({**found.model_dump(mode="json"), "record": record, "views": views})
        return
    out.print(escape(found.text), style="bold", highlight=False)
    table = Grid()
    for name, value in _provenance(found):
        table.add_row(name, escape(value))
    table.add_row("views", escape("\n".join(views)))
    table.add_row("record", escape(record))
    out.print(table)


def no_caption(failure: Failure) -> Unfinished:
    return Unfinished(
        f"{failure.video.uri} has no caption: {failure.reason}",
        cure=failure.cure,
        told=failure.model_dump(mode="json"),
    )


def video_at(uri: str) -> tuple[str, str]:
    """Raises UsageError: it names no video."""
    bucket, key = place_of(uri, "URI")
    if not key:
        raise UsageError(f"URI: {uri} is a bucket", cure="Name one video: s3://bucket/key.")
    return bucket, key


def _provenance(caption: Caption) -> Iterator[tuple[str, str]]:
    frames, tokens, card = caption.frames, caption.tokens, caption.card
    for part in caption.segments:
        yield f"{part.start_s:.1f}–{part.end_s:.1f} s", part.text or f"({', '.join(part.flags)})"
    yield "video", f"{caption.video.uri} ({caption.duration_s:.1f} s, etag {caption.video.etag})"
    yield "status", " ".join([caption.status, *caption.flags])
    shown = ", ".join(f"{moment:.2f}" for moment in frames.timestamps_s[:SHOWN_FRAMES])
    more = ", …" if frames.decoded > SHOWN_FRAMES else ""
    yield "frames", f"{frames.decoded} of {frames.requested}, at {shown}{more} s"
    if frames.clock_jumps_s:
        yield "clock jumps", ", ".join(f"{at:.2f}" for at in frames.clock_jumps_s) + " s"
    if frames.track and frames.track.of > 1:
        yield "track", f"{frames.track.index} of 0 to {frames.track.of - 1}: {frames.track.reason}"
    if frames.damage:
        yield "damage", spoken(frames.damage)
    yield (
        "tokens",
        f"{tokens.visual} visual + {tokens.prompt} prompt → {tokens.generated} generated",
    )
    model = caption.model
    yield "model", f"{model.id}@{model.revision} (weights {model.weights_sha256})"
    yield "adapter", caption.adapter.version if caption.adapter else "none: the base model"
    yield "card", f"{card.name} on {card.device}, {card.dtype}{', 4-bit' if card.quantized else ''}"
    yield "recipe", f"{caption.recipe_id}, generation {caption.recipe.generation}"
    yield "stages", ", ".join(f"{name} {spent:.2f} s" for name, spent in caption.timings_s.items())
    yield "made", f"{utc(caption.created_at, seconds=True)} by jamak {caption.jamak}"


def upload(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    to: Annotated[str, typer.Argument(help="s3://bucket/prefix/")],
    as_json: AsJson = False,
) -> None:
    """Put local files into a bucket, for those without another S3 client at hand."""
    store = ObjectStore()
    bucket, prefix = parse_uri(to, "TO")
    if prefix and not prefix.endswith("/"):
        raise UsageError(f"TO: {to} is no prefix", cure=f"End it with a slash: {to}/")
    for file in files:
        with err.status(spoken(f"uploading {escape(file.name)} …")):
            store.upload(file, bucket, prefix + file.name)
        if not as_json:
            out.print(escape(f"s3://{bucket}/{prefix}{file.name}"), highlight=False, soft_wrap=True)
    if as_json:
        print_json({"uploaded": [f"s3://{bucket}/{prefix}{file.name}" for file in files]})
