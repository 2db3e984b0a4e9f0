"""Makes each film, reads it with ours and with the ffmpeg program, and counts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.truth.films import Film
from benchmarks.truth.judging import disagreement, wrong_with
from benchmarks.truth.reference import decode
from benchmarks.truth.studio import Studio


def run(
    films: Sequence[Film],
    folder: Path,
    parts: Path,
    with_reference: bool,
    on_film: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Args:
    folder: where the films are put; those that are there are not made again.
    parts: where what they are made of is put.
    """
    studio = Studio(parts)
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, dict[str, Any]] = {}
    disagreeing: list[str] = []
    for film in films:
        path = folder / film.name
        if not path.exists():
            film.make(studio, path)
        found = wrong_with(film, path)
        one = kinds.setdefault(film.kind, {"files": 0, "wrong": 0, "what": []})
        one["files"] += 1
        one["wrong"] += bool(found)
        if found:
            one["what"].append(f"{film.name}: {'; '.join(found)}")
        if with_reference and film.is_film:
            other = disagreement(film, decode(path))
            if other:
                disagreeing.append(f"{film.name}: {other}")
        on_film()
    return {
        "files": len(films),
        "wrong": sum(one["wrong"] for one in kinds.values()),
        "kinds": dict(sorted(kinds.items())),
        "reference_disagrees": disagreeing,
    }
