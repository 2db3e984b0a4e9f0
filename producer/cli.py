"""The `jamak` command: how it starts, and how it ends, with which code (shared/errors.py).

Knows no verb: those are in `producer/verbs/lazy.py`. What takes time to import is imported where
Ctrl-C is caught.
"""

import io
import os
import re
import signal
import sys
import traceback
from typing import Any, NoReturn

from shared.errors import ConfigError, JamakError, NoSuchBucket, Unfinished, UsageError
from shared.signals import interrupt_on_signal

COMPLETING = "_JAMAK_COMPLETE"
"""Set by the shell that asks what may come next."""


class NotInstalled(JamakError):
    reason = "not_installed"


class Unexpected(JamakError):
    """A fault of ours, or of the machine."""

    reason = "unexpected"


def main() -> NoReturn:
    interrupt_on_signal()
    try:
        from shared.console import speak_in_any_encoding

        speak_in_any_encoding()
        if isinstance(sys.stdin, io.TextIOWrapper):  # addresses are UTF-8, whatever the locale says
            sys.stdin.reconfigure(encoding="utf-8", errors="strict")
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        # A second one ends it at once, whatever it is waiting for.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read has seen enough. What is buffered must not fail once more at the exit.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line, and explain what goes wrong; the exit code.

    Raises:
        KeyboardInterrupt, BrokenPipeError: for `main`.
    """
    import typer

    from producer.verbs.lazy import root
    from shared.console import asks_for_json

    if COMPLETING in os.environ:
        from producer.verbs.completion import complete

        return complete(root())
    usage_errors: Any = typer.BadParameter.__base__  # all of them, of any version of Typer
    try:
        arguments = [_readable(argument) for argument in arguments]
        with root().make_context("jamak", arguments) as context:
            context.command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:  # a question was answered with no
        return _explain(JamakError("nothing was done"), asks_for_json(arguments))
    except usage_errors as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # it has shown the help
            return UsageError.exit_code
        return _explain(_as_ours(error), asks_for_json(arguments))
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:
        return _explain(_understood(error, arguments), asks_for_json(arguments))
    return 0


def _understood(error: Exception, arguments: list[str]) -> JamakError:
    """What is no error of ours is shown with where it came from, unless the world explains it."""
    if isinstance(error, NoSuchBucket):
        from producer.verbs.origin import named_by

        error = error.named(named_by(error.bucket, arguments, os.environ))
        if error.named_by.startswith("the "):  # argument or option; else it is a variable
            return UsageError(str(error), cure=error.cure)
    if isinstance(error, JamakError):
        return error
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_of(error.name or "")):
        return NotInstalled(f"this needs {error.name}", cure=f"pip install 'jamak[{extra}]'")
    if isinstance(error, UnicodeEncodeError):
        lacks = f"the encoding of this machine, {error.encoding}, lacks {error.object!r}"
        return ConfigError(lacks, cure="Set LC_ALL=C.UTF-8, or PYTHONUTF8=1.")
    if isinstance(error, UnicodeDecodeError):
        return UsageError(f"what is read is not UTF-8: {error}", cure="Write it in UTF-8.")
    if isinstance(error, OSError) and error.filename is not None:
        return Unexpected(f"{error.filename}: {error.strerror}", cure="Check its path and rights.")
    from shared.shown import for_people

    print(for_people("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    return Unexpected(f"{type(error).__name__}: {error}", cure="This should not happen: report it.")


def _as_ours(error: Any) -> UsageError:
    """A command line that Typer does not understand."""
    context = error.ctx
    if context is None:  # what its parser says knows no command
        return UsageError(error.format_message(), cure="See `jamak --help`, or -h after the verb.")
    usage = " ".join(context.get_usage().split())
    return UsageError(
        error.format_message(), cure=f"{usage}  (more: {context.command_path} --help)"
    )


def _explain(error: JamakError, as_json: bool) -> int:
    from rich.markup import escape

    from shared.console import err, print_json
    from shared.language import spoken, spoken_error
    from shared.shown import without_passwords

    if as_json:
        told = {
            "reason": error.reason,
            "message": without_passwords(str(error)),
            "cure": error.cure,
            "exit_code": error.exit_code,
        }
        print_json({**(error.told if isinstance(error, Unfinished) else {}), "error": told})
    err.print("[red]jamak:[/red]", escape(without_passwords(spoken_error(error))), highlight=False)
    if error.cure:
        err.print(f"  {escape(spoken(error.cure))}", highlight=False)
    return error.exit_code


def _readable(argument: str) -> str:
    """Addresses are UTF-8, whatever the locale says; a file's name is as its folder has it.

    Raises:
        UsageError: it is neither.
    """
    raw = os.fsencode(argument)
    if argument.isascii() or os.path.exists(argument):  # noqa: PTH110 (a long text is no path)
        return argument
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{raw!r} is not UTF-8", cure="Write it in UTF-8.") from error


def _extra_of(module: str) -> str | None:
    """The extra of this distribution that brings a module; None: it is not one of ours."""
    from importlib.metadata import packages_distributions, requires

    top = module.split(".")[0]
    known = {name.lower().replace("_", "-") for name in packages_distributions().get(top, [top])}
    for requirement in requires("jamak") or []:
        name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
        extra = re.search(r"""extra == ['"](\w+)['"]""", requirement)
        if extra and name.lower() in known:
            return extra.group(1)
    return None


if __name__ == "__main__":
    main()
