"""`jamak plan`: what each card class does with a model, and why. It needs no torch."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.cards import CLASSES
from shared.console import AsJson, Grid, out, print_json
from shared.errors import DoesNotFit, UsageError
from shared.language import spoken
from shared.messages import Decoding
from shared.settings import CardName, Settings, load_settings
from workers.caption.budget import plan_card
from workers.caption.card_plan import Asked, CardPlan
from workers.caption.machines import machine_of
from workers.model.geometry import HUB, IN_BYTES, KNOWN, SYLLABLES, Geometry
from workers.model.syllables import longest
from workers.plan_training import show_training, stage_of

GIB = 2**30
Plans = dict[CardName, CardPlan | DoesNotFit]
"""Or why there is none."""
DEFAULT = Decoding(max_syllables=Settings.model_fields["max_syllables"].default)
"""Of new jobs, when nothing is set."""


def plan(
    card: Annotated[
        CardName | None, typer.Option("--card", help="This class alone, with all reasons.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="vicuna-7b, yi-34b, qwen3-8b, or a directory with a config.json; without it "
            "that of the settings.",
        ),
    ] = None,
    pool: Annotated[
        int | None, typer.Option("--pool", min=2, max=3, help="3: 64 tokens a frame, not 144.")
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            "--train",
            metavar="STAGE",
            help="A stage of training: what that takes of each class, and what would fit.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What each card class does with a model: frames, memory, captions at once; and why."""
    settings = load_settings()
    name, geometry = geometry_of(model, settings)
    if train is not None:
        most = new_tokens(name, Decoding.asked(settings))
        show_training(name, geometry, stage_of(train), most, card, as_json)
        return
    asked = Asked(new_tokens=new_tokens(name, Decoding.asked(settings)), pool_stride=pool)
    plans = plans_of(geometry, asked)
    if card is not None:
        plans = {card: plans[card]}
    alone = plans[card] if card else None
    if isinstance(alone, DoesNotFit):
        raise alone
    if as_json:
        print_json({"model": name, "classes": [_told(one, plans[one]) for one in plans]})
    elif alone:
        _show(alone)
    else:
        _show_all(name, plans)


def geometry_of(model: str | None, settings: Settings) -> tuple[str, Geometry]:
    """What is planned for, by name, and its sizes.

    Raises:
        UsageError: nothing is known of a model of this name.
        ConfigError: its config.json cannot be read.
    """
    asked = model or (str(settings.model_path) if settings.model_path else settings.model)
    known = HUB.get(asked, asked)
    if known in KNOWN:
        return asked, KNOWN[known]
    if not Path(asked).is_dir():
        raise UsageError(
            f"the sizes of {asked} are not known here",
            cure=f"Name one of {', '.join(KNOWN)}, or a directory with its config.json.",
            argument="--model",
        )
    return asked, Geometry.read(Path(asked))


def new_tokens(model: str, decoding: Decoding) -> int:
    return longest(decoding, SYLLABLES.get(HUB.get(model, model), IN_BYTES))


def usual(model: str, pool: int | None = None) -> Asked:
    """What a model is planned for when nothing is set: captions as long as a new job's may be."""
    return Asked(new_tokens=new_tokens(model, DEFAULT), pool_stride=pool)


def plans_of(geometry: Geometry, asked: Asked) -> Plans:
    plans: Plans = {}
    for card in CLASSES.values():
        try:
            plans[card.name] = plan_card(card, machine_of(card), geometry, asked)
        except DoesNotFit as error:
            plans[card.name] = error
    return plans


def _told(name: CardName, made: CardPlan | DoesNotFit) -> dict[str, object]:
    if isinstance(made, DoesNotFit):
        return {"class": name, "refused": str(made), "nearest": made.cure}
    return {
        "class": name,
        "memory_bytes": made.machine.memory,
        "dtype": made.machine.dtype,
        "quantized": made.machine.quantized,
        "pool_stride": made.pool_stride,
        "row_bytes": made.row_bytes,
        "at_once": made.at_once,
        **{what: figure.value for what, figure in made.figures()},
        "why": {what: figure.why for what, figure in made.figures()},
    }


def _show_all(name: str, plans: Plans) -> None:
    out.print(spoken(f"model: {escape(name)}"), highlight=False)
    table = Grid(
        *("class", "memory", "weights", "frames", "tokens", "a caption's KV", "rows", "chunk"),
        "s/caption",
    )
    refused = []
    for card, made in plans.items():
        if isinstance(made, DoesNotFit):
            table.add_row(card, *["-"] * 8)
            refused.append((card, made))
        else:
            table.add_row(card, *cells(made))
    out.print(table)
    for card, error in refused:
        out.print(
            f"{card}: {escape(spoken(str(error)))}. {escape(spoken(error.cure))}", highlight=False
        )


def cells(made: CardPlan) -> list[str]:
    memory, seconds = made.machine.memory, made.seconds.value
    return [
        f"{memory / GIB:.1f} GiB" if memory else "-",
        f"{made.weight_bytes.value / GIB:.2f} GiB{' NF4' if made.machine.quantized else ''}",
        str(made.frames.value),
        f"{made.visual_tokens.value:,}",
        f"{made.kv_bytes.value / 2**20:.0f} MiB",
        str(made.rows.value),
        str(made.chunk.value),
        f"{seconds:.2f}" if seconds else "-",
    ]


def _show(made: CardPlan) -> None:
    table = Grid("figure", "", "why")
    for what, figure in made.figures():
        table.add_row(what, _shown(what, figure.value), escape(spoken(figure.why)))
    out.print(table)


def _shown(what: str, value: float | None) -> str:
    if value is None:
        return "-"
    if what.endswith("_bytes"):
        return f"{value / GIB:.2f} GiB"
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
