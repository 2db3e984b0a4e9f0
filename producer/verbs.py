"""The operator's verbs for captions: each reads the settings, does one thing, and shows it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from producer.enqueue import enqueue as put_on_the_road
from producer.enqueue import least_class, recipe_of
from producer.events import is_video_key
from producer.listen import is_output, listener_of
from producer.status import read_status, unserved
from shared import telemetry
from shared.broker import caption_app
from shared.cards import CLASSES, choose_card, detect_gpu, served_queues
from shared.errors import ConfigError, Missing
from shared.keys import failure_key, parse_uri, view_key
from shared.messages import Caption, CaptionJob, Failure, decode
from shared.settings import CardName, Settings, load_settings
from shared.storage import ObjectInfo, ObjectStore
from shared.videos import video_of

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]

SHORT = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}

out = Console()
err = Console(stderr=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


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
    table = Table("class", "memory", "frames", "tokens", "weights", "compute", "queue", "here")
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


def enqueue(
    uris: Annotated[list[str], typer.Argument(help="s3://bucket/key or s3://bucket/prefix")],
    prompt: Annotated[str | None, typer.Option(help="Instead of JAMAK_PROMPT.")] = None,
    card: Annotated[
        str | None, typer.Option(help="The least class that may do it: t4, l4, a100, h100.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="The same number of frames on every card.")
    ] = None,
    generation: Annotated[
        int | None, typer.Option(min=0, help="Raise it to caption again with today's adapter.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, enqueue nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Caption videos that are in a bucket already. What has its caption is left alone."""
    settings, store = load_settings(), ObjectStore()
    recipe = recipe_of(settings, prompt=prompt, frames=frames, generation=generation)
    least = least_class(_card_name(card), frames)
    single, skipped = _find_videos(settings, store, uris)
    with err.status("enqueueing …"):
        done = put_on_the_road(
            caption_app(settings),
            store,
            settings,
            map(video_of, single),
            recipe,
            card=least,
            bulk=len(single) > 1,
            dry_run=dry_run,
        )
    result = {
        "enqueued": done.enqueued,
        "already": done.already,
        "skipped": skipped,
        "queue": done.queue,
        "recipe": recipe.id,
        "served": done.served,
        "dry_run": dry_run,
    }
    if as_json:
        print_json(result)
    else:
        verb = "would be enqueued" if dry_run else "enqueued"
        out.print(f"{done.enqueued} {verb} on {done.queue}, {done.already} captioned already")
        if skipped:
            out.print(f"{skipped} keys are no videos by their ending (JAMAK_VIDEO_SUFFIXES)")
    if not done.served:
        _warn_unserved(done.queue)


def _card_name(name: str | None) -> CardName | None:
    if name is not None and name not in CLASSES:
        raise ConfigError(f"{name!r} is no card class", cure="`jamak cards` shows them.")
    return name


def _find_videos(
    settings: Settings, store: ObjectStore, uris: list[str]
) -> tuple[list[ObjectInfo], int]:
    """The objects that the addresses mean, and how many keys of prefixes are no videos."""
    found: dict[tuple[str, str], ObjectInfo] = {}
    skipped = 0
    for uri in uris:
        bucket, key = parse_uri(uri)
        if key and not key.endswith("/"):
            try:
                found[bucket, key] = store.head(bucket, key)
                continue
            except Missing:
                pass  # then it is a prefix
        listed = 0
        for info in store.list(bucket, key):
            listed += 1
            if is_output(settings, bucket, info.key):
                continue
            if is_video_key(info.key, settings.video_suffixes):
                found[bucket, info.key] = info
            else:
                skipped += 1
        if not listed:
            raise ConfigError(f"nothing is at {uri}", cure="Check the bucket and the key.")
    return list(found.values()), skipped


def listen() -> None:
    """Turn S3 events from SQS into jobs, until stopped."""
    settings = load_settings()
    telemetry.configure_logging(settings.log_level)
    listener_of(settings, caption_app(settings)).run()


def status(as_json: AsJson = False) -> None:
    """What waits, who serves it, which adapters are in use."""
    settings = load_settings()
    found = read_status(settings)
    if as_json:
        print_json(found)
        return
    table = Table("queue", "waiting", "to run alone", "workers")
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
        out.print(f"adapter of base {adapter['base'][:12]}: {version}")
    for name in unserved(found):
        _warn_unserved(name)


def _warn_unserved(queue: str) -> None:
    err.print(f"[yellow]no live worker serves {queue}: its jobs wait until one does[/yellow]")


def show(
    uri: Annotated[str, typer.Argument(help="s3://bucket/key of the video")],
    as_json: AsJson = False,
) -> None:
    """The caption of a video, and how it was made."""
    settings, store = load_settings(), ObjectStore()
    bucket, key = parse_uri(uri)
    try:
        body = store.get(
            settings.output_bucket, view_key(settings.output_prefix, bucket, key, ".json")
        )
    except Missing:
        _show_failure(settings, store, bucket, key, as_json)
    caption = decode(Caption, body)
    if as_json:
        print_json(caption.model_dump(mode="json"))
        return
    out.print(escape(caption.text), style="bold", highlight=False)
    table = Table(show_header=False, box=None)
    for name, value in _provenance(caption):
        table.add_row(name, escape(value))
    out.print(table)


def _provenance(caption: Caption) -> Iterator[tuple[str, str]]:
    frames, tokens, card = caption.frames, caption.tokens, caption.card
    yield "video", f"{caption.video.uri} ({caption.duration_s:.1f} s, etag {caption.video.etag})"
    yield "status", " ".join([caption.status, *caption.flags])
    shown = ", ".join(f"{moment:.2f}" for moment in frames.timestamps_s)
    yield "frames", f"{frames.decoded} of {frames.requested}, at {shown} s"
    yield (
        "tokens",
        f"{tokens.visual} visual + {tokens.prompt} prompt → {tokens.generated} generated",
    )
    model = caption.model
    yield "model", f"{model.id}@{model.revision} (weights {model.weights_sha256[:12]})"
    yield "adapter", caption.adapter.version if caption.adapter else "none: the base model"
    yield "card", f"{card.name} on {card.device}, {card.dtype}{', 4-bit' if card.quantized else ''}"
    yield "recipe", f"{caption.recipe_id}, generation {caption.recipe.generation}"
    yield "stages", ", ".join(f"{name} {spent:.2f} s" for name, spent in caption.timings_s.items())
    yield "made", f"{caption.created_at:%Y-%m-%d %H:%M:%S} UTC by jamak {caption.jamak}"


def _show_failure(
    settings: Settings, store: ObjectStore, bucket: str, key: str, as_json: bool
) -> NoReturn:
    """No caption: say why, if the current recipe has failed on it."""
    try:
        video = video_of(store.head(bucket, key))
    except Missing as error:
        raise ConfigError(f"s3://{bucket}/{key} does not exist", cure="Check the key.") from error
    job = CaptionJob(video=video, recipe=recipe_of(settings))
    try:
        body = store.get(settings.output_bucket, failure_key(settings.output_prefix, job))
    except Missing as error:
        raise ConfigError(
            f"{video.uri} has no caption yet",
            cure=f"Wait for it (`jamak status`), or `jamak enqueue {video.uri}`.",
        ) from error
    failure = decode(Failure, body)
    if as_json:
        print_json(failure.model_dump(mode="json"))
    else:
        out.print(
            f"[red]failed: {failure.reason}[/red]  {escape(failure.message)}", highlight=False
        )
        out.print(failure.cure, highlight=False)
    sys.exit(1)


def upload(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
    to: Annotated[str, typer.Argument(help="s3://bucket/prefix/")],
) -> None:
    """Put local files into a bucket, for those without another S3 client at hand."""
    store = ObjectStore()
    bucket, prefix = parse_uri(to)
    if prefix and not prefix.endswith("/"):
        raise ConfigError(f"{to} is no prefix", cure=f"End it with a slash: {to}/")
    for file in files:
        with err.status(f"uploading {file.name} …"):
            store.upload(file, bucket, prefix + file.name)
        out.print(escape(f"s3://{bucket}/{prefix}{file.name}"), highlight=False, soft_wrap=True)
