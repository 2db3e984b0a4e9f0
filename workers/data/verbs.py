"""`jamak data`: one file for each of its verbs."""

import typer

from workers.data.import_set import import_set
from workers.data.pairs import pairs
from workers.data.split import split
from workers.data.stats import stats
from workers.data.validate import validate

data = typer.Typer(no_args_is_help=True, help="Make, check and change training sets.")
data.command("import")(import_set)
data.command("pairs")(pairs)
data.command("split")(split)
data.command("stats")(stats)
data.command("validate")(validate)
