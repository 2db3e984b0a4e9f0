"""Whether valid films are read as they were drawn: times, pictures, shape, length and cuts.

    python -m benchmarks.truth [--json] [--quick] [--only KIND]... [--keep DIR] [--into FILE]

Films of many kinds, in every container and with every codec that the ffmpeg program of
imageio-ffmpeg writes. Each picture is drawn here and says which frame it is, and which way up, so
that what is true depends on no decoder. Each film is also read with the ffmpeg program; where that
one disagrees with the drawing, the film's line says so, and the drawing counts.

A film is `wrong` if one frame, time or length that we return is not the drawn one, or if something
is called damaged or inexact. `--json` ends with one object.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.programs import begin, need, parser_of


def main() -> int:
    parser = parser_of("truth", __doc__, quick="a dozen films, without the ffmpeg program's view")
    parser.add_argument("--only", action="append", metavar="KIND", help="only these kinds")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the films stay")
    parser.add_argument("--into", type=Path, metavar="FILE", help="also write the result there")
    arguments = begin(parser)
    need("imageio_ffmpeg")
    from benchmarks.truth.corpus import FILMS, QUICK
    from benchmarks.truth.run import run

    films = [
        film
        for film in FILMS
        if (not arguments.only or film.kind in arguments.only)
        and (film.name in QUICK or not arguments.quick)
    ]
    if not films:
        parser.error(f"there are these kinds: {', '.join(sorted({one.kind for one in FILMS}))}")
    with (
        tempfile.TemporaryDirectory(prefix="jamak-truth-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        bar = bars.add_task("films", total=len(films))
        keep = arguments.keep or Path(folder)
        found = run(
            films, keep, Path(folder) / "parts", not arguments.quick, lambda: bars.advance(bar)
        )
    show(found)
    if arguments.into:
        arguments.into.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(found))
    return 0


def show(found: dict[str, Any]) -> None:
    grid = Table("kind", "files", "wrong", "what")
    for kind, one in found["kinds"].items():
        grid.add_row(kind, str(one["files"]), str(one["wrong"] or ""), "\n".join(one["what"]))
    out = Console(file=sys.stdout, width=160)
    out.print(grid, highlight=False, markup=False)
    if found["reference_disagrees"]:
        out.print("Where the ffmpeg program reads otherwise than what was drawn:")
        for line in found["reference_disagrees"]:
            out.print(f"  {line}", highlight=False, markup=False)
    out.print(f"{found['files']} films of {len(found['kinds'])} kinds, {found['wrong']} wrong")


if __name__ == "__main__":
    sys.exit(main())
