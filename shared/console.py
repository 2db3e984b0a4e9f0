"""How a command speaks: what identifies is never cut, in whatever form its reader takes it.

On a terminal a table folds what is too long; in a pipe, a file and with `-o wide` each row is one
line. What the encoding of the reader lacks becomes a replacement character, never an error. Knows
nothing of what is told.
"""

import codecs
import io
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from shared.language import spoken
from shared.shown import as_json, for_people, visible

ENDLESS = 100_000
"""Columns of what is no terminal."""
GAP = "  "
"""Between the columns of a table without lines."""
FORM = "jamak.form"
"""In the context of a command: what `-o` asks for."""

Form = Literal["wide", "json"]


class Whole(Console):
    """A console that cuts nothing."""

    wide = False
    """Asked for with `-o wide`: no folding on a terminal either, and all columns."""

    def __init__(self, **how: Any) -> None:
        super().__init__(emoji=False, **how)  # a key may hold `:smile:`

    @property
    def folds(self) -> bool:
        """Colours may be forced into a pipe, but a pipe has no width."""
        return self.file.isatty() and not self.wide

    @property
    def size(self) -> ConsoleDimensions:
        return super().size if self.folds else ConsoleDimensions(ENDLESS, 25)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(for_people(text), **how)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Whatever comes past `render_str`: a bar's description, a text that is one already."""
        for segment in super().render(renderable, options):
            plain = segment.control or segment.text.isprintable()
            yield segment if plain else segment._replace(text=visible(segment.text))


def _leave_it(console: Console) -> None:
    raise  # to `main`, which ends every command alike


# Of Typer's consoles, too, which print the help.
Console.on_broken_pipe = _leave_it  # type: ignore[method-assign, assignment]

out, err = Whole(), Whole(stderr=True)


class Grid(Table):
    """A table of strings, with rich's markup in them.

    Args:
        headers: none = a table of names and values, without lines.
        wide: headers of the last columns, which only `-o wide` shows. Rows have them always.
    """

    def __init__(self, *headers: str | Column, wide: Sequence[str] = (), **look: Any) -> None:
        shown = [
            spoken(one) if isinstance(one, str) else one
            for one in (*headers, *(wide if out.wide else ()))
        ]
        if not headers:
            look = {"show_header": False, "box": None, **look}
        if look.get("title"):
            look["title"] = spoken(look["title"])
        super().__init__(*shown, **look)
        self._most = len(shown) or None

    def add_row(self, *cells: Any, **how: Any) -> None:
        if not self.show_header and isinstance(cells[0], str):  # the name of a value
            cells = spoken(cells[0]), *cells[1:]
        super().add_row(*cells[: self._most], **how)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for column in self.columns:
            column.overflow = "fold"
        if not isinstance(console, Whole) or console.folds:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._lines(console)

    def _lines(self, console: Console) -> Iterator[Text]:
        rows = [[_one_line(console, cell) for cell in column.cells] for column in self.columns]
        cells = [list(row) for row in zip(*rows, strict=True)]
        if self.show_header:
            cells.insert(0, [_one_line(console, column.header) for column in self.columns])
        widths = [
            max(cell_len(cell.plain) for cell in column) for column in zip(*cells, strict=True)
        ]
        if self.title:
            yield _one_line(console, self.title)
        for row in cells:
            line = Text(no_wrap=True, overflow="ignore", end="\n")
            for cell, width in zip(row[:-1], widths, strict=False):
                line.append_text(cell)
                line.append(" " * (width - cell_len(cell.plain)) + GAP)
            line.append_text(row[-1])
            line.rstrip()
            yield line
        if self.caption:
            yield _one_line(console, self.caption)


def _one_line(console: Console, cell: Any) -> Text:
    text = cell if isinstance(cell, Text) else console.render_str(str(cell), highlight=False)
    return Text(" ", no_wrap=True, overflow="ignore").join(text.split("\n"))


def print_json(value: Any) -> None:
    """One line; escaped where the encoding of stdout lacks some of it."""
    print(as_json(value, ascii_only=not _takes_all(sys.stdout)), flush=True)


def _takes_all(stream: Any) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _json_too(context: typer.Context, given: bool) -> bool:
    return given or context.meta.get(FORM) == "json"


def _form(context: typer.Context, form: Form | None) -> Form | None:
    context.meta[FORM] = form
    out.wide = form == "wide"
    return form


AsJson = Annotated[
    bool,
    typer.Option("--json", help="As -o json: one JSON object, in one line.", callback=_json_too),
]


def form_option() -> Any:
    """`-o`, for every verb that has `--json`: the same option, so that none has it otherwise."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def carrier(
        output: Annotated[
            Form | None,
            typer.Option(
                "-o",
                "--output",
                help="wide: all columns, whole, a line each. json: for programs.",
                is_eager=True,
                expose_value=False,
                callback=_form,
            ),
        ] = None,
    ) -> None: ...

    return next(one for one in typer.main.get_command(app).params if one.name == "output")


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line does, be it right or wrong."""
    before = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if {"--json", "-ojson", "-o=json", "--output=json"} & set(before):
        return True
    return any(flag in ("-o", "--output") and form == "json" for flag, form in pairwise(before))


_SIGNS = str.maketrans(
    {
        "…": "...",
        "–": "-",
        "—": "-",
        "·": ".",
        "•": "*",
        "→": ">",
        "←": "<",
        "×": "x",
        "✓": "+",
        "✗": "x",
        "█": "#",
        "░": ".",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
    }
)
_LINES = {"─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|"}


def _replacing(rest: Callable[[str], str]) -> Callable[[UnicodeError], tuple[str, int]]:
    """A codec's error handler: our own signs become what looks like them, `rest` has the others."""

    def handle(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        lacking = error.object[error.start : error.end]
        return "".join(map(replaced, lacking)), error.end

    def replaced(sign: str) -> str:
        if sign in _LINES or "\u2500" <= sign <= "\u257f":
            return _LINES.get(sign, "+")
        if "\u2800" <= sign <= "\u28ff":  # a spinner's dots
            return "*"
        plain = sign.translate(_SIGNS)
        return plain if plain.isascii() else rest(sign)

    return handle


def _question_marks(sign: str) -> str:
    """As wide as what they stand for, so that columns stay columns."""
    return "?" * max(1, 2 if unicodedata.east_asian_width(sign) in "WF" else 1)


def _escaped(sign: str) -> str:
    return sign.encode("ascii", "backslashreplace").decode()


def speak_in_any_encoding() -> None:
    """From here on no character makes stdout or stderr fail.

    On stderr, where log lines are JSON, what is lacking is escaped as JSON does it.
    """
    codecs.register_error("jamak.shown", _replacing(_question_marks))
    codecs.register_error("jamak.logged", _replacing(_escaped))
    for stream, errors in ((sys.stdout, "jamak.shown"), (sys.stderr, "jamak.logged")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
