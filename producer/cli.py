"""The `jamak` command. Its verbs come from the entry-point group `jamak.verbs`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 something must be configured first.
"""

import os
import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, packages_distributions, requires
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from producer.verbs.origin import named_by
from shared.errors import ConfigError, JamakError, NoSuchBucket
from shared.signals import interrupt_on_signal

EX_CONFIG = 78
"""sysexits.h"""


def main() -> NoReturn:
    """Build the command from the installed verbs, run it, and explain what goes wrong."""
    interrupt_on_signal()
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="An S3 bucket of videos in, Korean captions out.",
    )
    for entry in sorted(entry_points(group="jamak.verbs"), key=lambda entry: entry.name):
        verb = _load(entry)
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=entry.name)
        else:
            app.command(entry.name)(verb)
    try:
        app()
    except ModuleNotFoundError as error:
        extra = _extra_of(error.name or "")
        if extra is None:
            raise
        _stop(f"this needs {error.name}", f"pip install 'jamak[{extra}]'", 1)
    except NoSuchBucket as error:
        told = error.named(named_by(error.bucket, sys.argv[1:], os.environ))
        _stop(str(told), told.cure, EX_CONFIG)
    except ConfigError as error:
        _stop(str(error), error.cure, EX_CONFIG)
    except JamakError as error:
        _stop(str(error), error.cure, 1)
    sys.exit(0)


def _load(entry: EntryPoint) -> typer.Typer | Callable[..., Any]:
    """A verb whose extra is not installed stays in the list, and says so when it is called."""
    try:
        verb: typer.Typer | Callable[..., Any] = entry.load()
    except ModuleNotFoundError as error:
        missing = error

        def verb() -> None:
            raise missing

        verb.__doc__ = f"(needs {missing.name})"
    return verb


def _stop(message: str, cure: str, code: int) -> NoReturn:
    err = Console(stderr=True)
    err.print("[red]jamak:[/red]", escape(message), highlight=False, soft_wrap=True)
    if cure:
        err.print(f"  {escape(cure)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _extra_of(module: str) -> str | None:
    """The extra of this distribution that brings a module; None: it is not one of ours."""
    root = module.split(".")[0]
    known = {name.lower().replace("_", "-") for name in packages_distributions().get(root, [root])}
    for requirement in requires("jamak") or []:
        name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
        extra = re.search(r"""extra == ['"](\w+)['"]""", requirement)
        if extra and name.lower() in known:
            return extra.group(1)
    return None


if __name__ == "__main__":
    main()
