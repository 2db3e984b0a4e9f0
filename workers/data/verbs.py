"""`jamak data`: training sets before they are trained on. What takes long is imported by the verb
that needs it."""

import typer

from workers.data.stats import stats
from workers.data.validate import validate

data = typer.Typer(no_args_is_help=True, help="Training sets, before they are trained on.")
data.command("validate")(validate)
data.command("stats")(stats)
