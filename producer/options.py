"""What the verbs for many videos share: options, and what they open."""

from typing import Annotated, Literal

import typer

from producer.console import bars
from producer.manifest import Backlog
from producer.scan import scan
from shared.broker import caption_prefix, leased_queues
from shared.leased_queues import LeasedQueues
from shared.settings import Settings, load_settings
from shared.storage import ObjectStore

Prompt = Annotated[str | None, typer.Option(help="Instead of JAMAK_PROMPT.")]
Card = Annotated[
    str | None, typer.Option(help="The least class that may do it: t4, l4, a100, h100.")
]
Frames = Annotated[int | None, typer.Option(min=1, help="The same number of frames on every card.")]
Generation = Annotated[
    int | None, typer.Option(min=0, help="Raise it to caption again with today's adapter.")
]
Sampling = Annotated[
    Literal["uniform", "adaptive"] | None, typer.Option(help="Instead of JAMAK_SAMPLING.")
]
Segments = Annotated[
    str | None,
    typer.Option(
        help="Caption a video in parts: auto, so many (8), of such a length (30s), or none."
    ),
]
Name = Annotated[str, typer.Argument(help="Of the backlog.")]
SourceOf = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="s3://bucket/prefix, the manifest.json of an S3 Inventory, a file of s3:// keys, or -",
    ),
]


def opened() -> tuple[Settings, ObjectStore, LeasedQueues]:
    """Settings, the bucket and the caption queues."""
    settings = load_settings()
    return settings, ObjectStore(), leased_queues(settings, caption_prefix(settings))


def scan_with_bar(
    settings: Settings, store: ObjectStore, queues: LeasedQueues, made: Backlog
) -> None:
    with bars() as shown:
        bar = shown.add_task(f"listing {made.name}", total=None)
        scan(
            store,
            settings,
            queues,
            made,
            lambda manifest: shown.update(bar, completed=manifest.lines),
        )
