"""The operator's verbs for captions: each reads the settings, does one thing, and shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from producer.bucket.segments import segments_done
from producer.jobs.recipes import recipe_of
from producer.verbs.console import AsJson, Grid, err, out, print_json, warn_unserved
from producer.verbs.failures import show_failure
from producer.verbs.status import read_status, unserved
from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues
from shared.bucket.keys import parse_uri, place_of
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.bucket.videos import video_of
from shared.cards import CLASSES, choose_card, detect_gpu, served_queues
from shared.errors import JamakError, Missing, Unfinished, UsageError
from shared.messages import Caption, CaptionJob
from shared.settings import Settings, load_settings

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
    out.print(f"This machine: {where}{' (emulated)' if choice.emulated else ''}: {choice.reason}")
    out.print(f"It would serve: {', '.join(served_queues(choice.card))}")


def listen() -> None:
    """Turn S3 events from SQS into jobs, until stopped."""
    from producer.uploads.listen import listener_of  # what only this verb needs

    settings = load_settings()
    telemetry.configure_logging(settings.log_level)
    listener_of(settings, leased_queues(settings, caption_prefix(settings))).run()


def status(as_json: AsJson = False) -> None:
    """What waits, who serves it, which adapters are in use."""
    settings = load_settings()
    found = read_status(settings)
    if as_json:
        print_json(found)
        return
    table = Grid("queue", "waiting", "to run alone", "workers")
    for name, queue in found["queues"].items():
        row = str(queue["waiting"]), str(queue["alone"]), "\n".join(queue["workers"]) or "-"
        table.add_row(name, *row)
    out.print(table)
    for what, counts in (
        ("in flight", found["in_flight"]),
        ("waiting for another try", found["delayed"]),
        ("set aside as no message of ours", found["poison"]),
    ):
        out.print(f"{what}: {counts['captions']} captions, {counts['training']} training jobs")
    for adapter in found["adapters"]:
        version = adapter["version"] or "none"
        out.print(f"adapter of base {adapter['base']}: {version}")
    for name in unserved(found):
        warn_unserved(name)


def show(
    uri: Annotated[str, typer.Argument(help="s3://bucket/key of the video")],
    as_json: AsJson = False,
) -> None:
    """The caption of a video, and how it was made."""
    bucket, key = place_of(uri)
    if not key:
        raise UsageError(f"{uri} is a bucket", cure="Name one video: s3://bucket/key.")
    settings, store = load_settings(), ObjectStore()
    records = Records(store, settings)
    try:
        caption = records.show(bucket, key)
    except Missing:
        caption = _newest(settings, store, records, bucket, key, as_json)
    if as_json:
        print_json(caption.model_dump(mode="json"))
        return
    out.print(escape(caption.text), style="bold", highlight=False)
    table = Grid()
    for name, value in _provenance(caption):
        table.add_row(name, escape(value))
    out.print(table)


def _provenance(caption: Caption) -> Iterator[tuple[str, str]]:
    frames, tokens, card = caption.frames, caption.tokens, caption.card
    for part in caption.segments:
        yield f"{part.start_s:.1f}–{part.end_s:.1f} s", part.text or f"({', '.join(part.flags)})"
    yield "video", f"{caption.video.uri} ({caption.duration_s:.1f} s, etag {caption.video.etag})"
    yield "status", " ".join([caption.status, *caption.flags])
    shown = ", ".join(f"{moment:.2f}" for moment in frames.timestamps_s[:SHOWN_FRAMES])
    more = ", …" if frames.decoded > SHOWN_FRAMES else ""
    yield "frames", f"{frames.decoded} of {frames.requested}, at {shown}{more} s"
    if frames.damage:
        yield "damage", frames.damage
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
    yield "made", f"{caption.created_at:%Y-%m-%d %H:%M:%S} UTC by jamak {caption.jamak}"


def _newest(
    settings: Settings, store: ObjectStore, records: Records, bucket: str, key: str, as_json: bool
) -> Caption:
    """There is no view: the record by today's recipe, or why there is none."""
    if ":" in bucket:
        raise NoCaption("it has no caption yet", cure="Wait for it (`jamak status`).")
    try:
        video = video_of(store.head(bucket, key))
    except Missing as error:
        raise UsageError(f"s3://{bucket}/{key} does not exist", cure="Check the key.") from error
    job = CaptionJob(video=video, recipe=recipe_of(settings))
    caption = records.find(job)
    if caption is not None:
        return caption
    failure = records.find_failure(job)
    if failure is None:
        begun = segments_done(store, settings, video)
        far = f": {begun[0]} of {begun[1]} segments are done" if begun else ""
        raise NoCaption(
            f"{video.uri} has no caption yet{far}",
            cure=f"Wait for it (`jamak status`), or `jamak enqueue {video.uri}`.",
        )
    if not as_json:
        show_failure(failure)
    raise Unfinished(
        f"{video.uri} has no caption: {failure.reason}",
        cure=failure.cure,
        told=failure.model_dump(mode="json"),
    )


class NoCaption(JamakError):
    reason = "no_caption"


def upload(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    to: Annotated[str, typer.Argument(help="s3://bucket/prefix/")],
    as_json: AsJson = False,
) -> None:
    """Put local files into a bucket, for those without another S3 client at hand."""
    store = ObjectStore()
    bucket, prefix = parse_uri(to)
    if prefix and not prefix.endswith("/"):
        raise UsageError(f"{to} is no prefix", cure=f"End it with a slash: {to}/")
    for file in files:
        with err.status(f"uploading {escape(file.name)} …"):
            store.upload(file, bucket, prefix + file.name)
        if not as_json:
            out.print(escape(f"s3://{bucket}/{prefix}{file.name}"), highlight=False, soft_wrap=True)
    if as_json:
        print_json({"uploaded": [f"s3://{bucket}/{prefix}{file.name}" for file in files]})
