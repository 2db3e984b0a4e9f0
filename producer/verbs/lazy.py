"""The verbs by name: each is imported when it is called, and not before.

They come from the entry-point group `jamak.verbs`, so that any installed package may bring some.
What ours do is written here as well, for `jamak --help` alone; a test holds both texts equal. A
verb that is not written here is imported to be listed.
"""

from functools import cached_property
from importlib.metadata import EntryPoint, entry_points, version
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from shared.console import form_option
from shared.language import is_korean, spoken

HELP = ["-h", "--help"]

SUMMARIES = {
    "adapters": "Which adapter the workers use.",
    "backlog": "Caption what is in a bucket already.",
    "cards": "The card classes, and which one this machine would be, and why.",
    "costs": "What captions cost, what was wasted, and what idle time and cold starts come to.",
    "data": "Make, check and change training sets.",
    "demo": "All of Jamak on this machine: films in, captions out, an adapter learnt and rolled "
    "back.",
    "doctor": "Check Redis, buckets, queue, model, card and clock; say what to do about each "
    "fault.",
    "enqueue": "Caption videos that are in a bucket already; a prefix becomes a backlog.",
    "eval": "Caption held-out videos with an adapter, and judge what it says.",
    "export": "Captions as a data set: a file for each 10,000 videos. Goes on where it was cut.",
    "failures": "Jobs that could not succeed, and why.",
    "feed": "Enqueue backlogs, bit by bit, until stopped. Several at once do no harm.",
    "feedback": "What people say of captions.",
    "frames": "Which frames of a video the model would see, and what it takes to get them.",
    "get": "The caption of a video, and nothing else: to standard output, or into files.",
    "listen": "Turn S3 events from SQS into jobs, until stopped.",
    "model": "Make the checkpoint that a fleet captions with.",
    "plan": "What each card class does with a model: frames, memory, captions at once; and why.",
    "poison": "Messages that were set aside, and why.",
    "qa": "Answer the questions of video QA sets, and count the right answers: a row for each "
    "model.",
    "recaption": "Make captions of a kind again, with today's model and adapter.",
    "reconcile": "Find in the bucket what is missing, and enqueue it again; render missing views.",
    "retrain": "Start the trainings that feedback has brought about: each once, whoever looks.",
    "scale": "How many workers are wanted, and why.",
    "show": "The caption of a video, how it was made and where it lies.",
    "status": "What waits and why, who serves it, which adapters are in use.",
    "train": "Train adapters, and see how far they are.",
    "upload": "Put local files into a bucket, for those without another S3 client at hand.",
}
EXTRAS = {"demo": "worker", "frames": "worker"}
"""Which verb needs which extra of this distribution."""
PROBES = {"worker": "av"}
"""A module of each extra that tells whether it is installed."""


class Verbs(TyperGroup):
    """Listed without being imported; imported to be called, or to complete its arguments."""

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group="jamak.verbs")}

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self._entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What a list shows of it."""
        if cmd_name not in self._entries or cmd_name in self.commands:
            return self.commands.get(cmd_name)
        summary = SUMMARIES.get(cmd_name)
        if summary is None:
            try:
                return self._imported(cmd_name)
            except Exception as error:  # a package of others must not take the list away
                summary = f"(cannot be imported: {error})"
        extra = EXTRAS.get(cmd_name)
        if extra and find_spec(PROBES[extra]) is None:
            summary = f"{summary} (needs the extra '{extra}')"
        return TyperCommand(name=cmd_name, help=spoken(summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in self._entries:
            self._imported(args[0])
        else:  # so that what is meant can be guessed
            self.commands.update({name: self.get_command(ctx, name) for name in self._entries})
        return super().resolve_command(ctx, args)

    def _imported(self, name: str) -> Any:
        if name not in self.commands:
            self.commands[name] = _shown(command_of(name, self._entries[name].load()))
        return self.commands[name]


def command_of(name: str, verb: Any) -> Any:
    """A verb is a function, or a Typer with verbs of its own."""
    app = typer.Typer(add_completion=False)
    if isinstance(verb, typer.Typer):
        app.add_typer(verb, name=name)
        return typer.main.get_group(app).commands[name]
    app.command(name)(verb)
    return typer.main.get_command(app)


def _shown(command: Any) -> Any:
    """Every verb that has `--json` has `-o`, too; and its help is in the reader's language."""
    for one in getattr(command, "commands", {}).values():
        _shown(one)
    if any("--json" in option.opts for option in command.params):
        command.params.append(form_option())
    if is_korean():
        _in_korean(command)
    return command


def _in_korean(command: Any) -> None:
    from typer import rich_utils

    for title in ("ARGUMENTS_PANEL_TITLE", "OPTIONS_PANEL_TITLE", "COMMANDS_PANEL_TITLE"):
        setattr(rich_utils, title, spoken(getattr(rich_utils, title)))
    own_help = command.get_help_option(typer.Context(command, help_option_names=HELP))
    for one in (*command.params, *([own_help] if own_help else [])):
        one.help = one.help and spoken(one.help)
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(spoken(" ".join(one.split())) for one in paragraphs)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"jamak {version('jamak')}")
        raise typer.Exit


def root() -> Any:
    """The command `jamak`."""
    app = typer.Typer(
        cls=Verbs,
        no_args_is_help=True,
        context_settings={"help_option_names": HELP},
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def jamak(
        version: Annotated[
            bool,
            typer.Option(
                "--version", help="Say which, and end.", is_eager=True, callback=_tell_version
            ),
        ] = False,
    ) -> None:
        """An S3 bucket of videos in, Korean captions out."""

    return _shown(typer.main.get_command(app))
