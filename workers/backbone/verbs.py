"""`jamak model`: checkpoints out of checkpoints. The libraries are loaded by what is done."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from shared.console import AsJson, Grid, err, out, print_json
from shared.language import spoken

GIB = 2**30

model = typer.Typer(no_args_is_help=True, help="Make the checkpoint that a fleet captions with.")


@model.callback()
def _group() -> None:
    """Make the checkpoint that a fleet captions with."""


@model.command("swap-backbone")
def swap(
    base: Annotated[
        Path,
        typer.Option(
            exists=True, file_okay=False, help="A LLaVA-NeXT-Video checkpoint: it sees with this."
        ),
    ],
    language_model: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="A Qwen3 model: it speaks with this.")
    ],
    into: Annotated[Path, typer.Option(help="A directory that is not there yet.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the projector.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Put a Qwen3 language model behind the vision tower of a checkpoint.

    The projector between them is new: train it first, with `jamak train align`.
    """
    from workers.backbone.swap import swap_backbone

    with err.status(spoken("copying weights …")):
        made = swap_backbone(base, language_model, into, seed=seed)
    if as_json:
        print_json({**vars(made), "directory": str(made.directory)})
        return
    table = Grid()
    table.add_row("directory", escape(str(made.directory)))
    table.add_row("parameters", f"{made.parameters:,}")
    table.add_row("weights", f"{made.size_bytes / GIB:.2f} GiB, {made.weight_files}")
    table.add_row("vocabulary", f"{made.vocabulary:,}")
    table.add_row("tokens added", ", ".join(f"{one} {at}" for one, at in made.added.items()))
    table.add_row("digest", made.weights_sha256)
    out.print(table)
