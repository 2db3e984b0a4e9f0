"""`jamak data`: one file for each of its verbs."""

import typer

from workers.data.pairs import pairs

data = typer.Typer(no_args_is_help=True, help="Make, check and change training sets.")
data.command("pairs")(pairs)
