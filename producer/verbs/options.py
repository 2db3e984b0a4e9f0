"""What the verbs for many videos share: options, and what they open."""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import typer

from producer.backlog.manifest import Backlog
from producer.backlog.scan import scan
from producer.jobs.recipes import least_class, recipe_of
from producer.jobs.served import needs_of, why_unserved
from producer.verbs import completion
from producer.verbs.console import bars, warn
from shared.broker.apps import caption_prefix, leased_queues, reaching_redis
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_producer, prove_remover
from shared.bucket.storage import ObjectStore
from shared.language import spoken
from shared.messages import Recipe
from shared.settings import CardName, Settings, load_settings

Name = Annotated[str, typer.Argument(help="Of the backlog.", autocompletion=completion.backlogs)]
SourceOf = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="s3://bucket/prefix, the manifest.json of an S3 Inventory, a file of s3:// keys, or -",
    ),
]


@dataclass(frozen=True)
class Asked:
    """What is asked of new captions: the options of every verb that makes jobs."""

    prompt: str | None = None
    card: str | None = None
    frames: int | None = None
    generation: int | None = None
    sampling: Literal["uniform", "adaptive"] | None = None
    segments: str | None = None

    def recipe(self, settings: Settings) -> Recipe:
        """Raises UsageError: the prompt or the segments cannot be understood."""
        return recipe_of(
            settings,
            prompt=self.prompt,
            frames=self.frames,
            generation=self.generation,
            sampling=self.sampling,
            segments=self.segments,
        )

    @property
    def least(self) -> CardName:
        """Raises UsageError: no such class, or it does not take so many frames."""
        return least_class(self.card, self.frames)


OPTIONS = {
    "prompt": typer.Option(help="Instead of JAMAK_PROMPT."),
    "card": typer.Option(help="The least class that may do it: t4, l4, a100, h100."),
    "frames": typer.Option(min=1, help="The same number of frames on every card."),
    "generation": typer.Option(
        min=0, max=2**31 - 1, help="Raise it to caption again with today's adapter."
    ),
    "sampling": typer.Option(help="Instead of JAMAK_SAMPLING."),
    "segments": typer.Option(
        help="Caption a video in parts: auto, so many (8), of such a length (30s), or none."
    ),
}


def asks(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb that takes `asked: Asked` the options of `Asked`, in its place."""
    kinds = inspect.get_annotations(Asked, eval_str=True)
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kinds[name], option],
        )
        for name, option in OPTIONS.items()
    ]
    signature = inspect.signature(verb)
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in signature.parameters.items()
        if name != "asked"
    ]
    required = [one for one in own if one.default is inspect.Parameter.empty]
    rest = [one for one in own if one.default is not inspect.Parameter.empty]

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        asked = Asked(**{name: given.pop(name) for name in OPTIONS})
        verb(**given, asked=asked)

    # Typer reads the signature and the annotations.
    parameters = [*required, *options, *rest]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def opened() -> tuple[Settings, ObjectStore, LeasedQueues]:
    """Settings, the bucket and the caption queues."""
    settings = load_settings()
    return (
        settings,
        ObjectStore(outputs=settings.all_outputs),
        leased_queues(settings, caption_prefix(settings)),
    )


def opened_to_send() -> tuple[Settings, ObjectStore, LeasedQueues]:
    """The same for a verb that puts jobs there: it may, or it does nothing.

    Raises:
        BrokerRefuses: this user may not.
        BrokerUnavailable: Redis does not answer, or takes nothing for now.
    """
    settings, store, queues = opened()
    prove_producer(queues)
    return settings, store, queues


def opened_to_remove() -> tuple[Settings, ObjectStore, LeasedQueues]:
    """The same for one that takes jobs away, also from a Redis that is full."""
    settings, store, queues = opened()
    prove_remover(queues)
    return settings, store, queues


def warn_of_unserved(
    queues: LeasedQueues, sent: Iterable[tuple[str, Recipe]]
) -> list[dict[str, Any]]:
    """Say at once if no live worker takes what was sent: queues, and the recipes of the jobs."""
    with reaching_redis():
        workers = queues.workers()
    wanted = {(queue, needs_of(recipe)) for queue, recipe in sent}
    told = [why for one in sorted(wanted, key=str) if (why := why_unserved(workers, *one))]
    for why in told:
        warn(why.message)
    return [asdict(why) for why in told]


def scan_with_bar(
    settings: Settings,
    store: ObjectStore,
    queues: LeasedQueues,
    made: Backlog,
    scan: Callable[..., object] = scan,
) -> None:
    with bars() as shown:
        bar = shown.add_task(spoken(f"listing {made.name}"), total=None)
        scan(
            store,
            settings,
            queues,
            made,
            lambda manifest: shown.update(bar, completed=manifest.lines),
        )
