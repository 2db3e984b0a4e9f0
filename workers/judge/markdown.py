"""A report as Markdown: what the page says, without pictures."""

import re
from collections.abc import Iterator

from shared.judged import Judged, JudgedSet
from workers.judge.page import apart, provenance, slice_cell, title, told, verdict

_MEANT = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def markdown(judged: Judged) -> str:
    return "\n".join(_lines(judged)) + "\n"


def _lines(judged: Judged) -> Iterator[str]:
    yield f"# {plain(title(judged))}\n"
    yield f"{plain(provenance(judged))}\n"
    for one in judged.sets:
        yield from _set(judged, one)


def _set(judged: Judged, one: JudgedSet) -> Iterator[str]:
    yield f"## {plain(one.name)}\n"
    yield f"{one.captions} captions of {one.videos} videos, {plain(one.data)}\n"
    more = ("compared with", "difference", "") if judged.compared else ()
    yield _row("measure", "", "value", "95 of 100", *more)
    yield _row(*["---"] * (4 + len(more)))
    for name, figure in one.figures.items():
        cells = [name, figure.title, told(figure, figure.value)]
        cells.append(f"{told(figure, figure.low)} to {told(figure, figure.high)}")
        if judged.compared:
            cells.append("" if figure.against is None else told(figure, figure.against))
            cells += [apart(figure), verdict(figure)]
        yield _row(*cells)
    yield ""
    for name, why in one.left_out.items():
        yield f"- left out: {plain(name)}: {plain(why)}"
    if one.slices:
        yield "\n### Slices\n"
        names = list(one.figures)
        yield _row("slice", "captions", *names)
        yield _row(*["---"] * (2 + len(names)))
        for part in one.slices:
            cells = [slice_cell(one, part.figures.get(name), name) for name in names]
            yield _row(f"{part.column}: {part.value}", str(part.captions), *cells)
    yield "\n### The worst captions\n"
    for bad in one.worst:
        yield f"- {plain(bad.id)}, {bad.score:.1f}"
        for text in bad.references:
            yield f"  - reference: {plain(text)}"
        yield f"  - said: {plain(bad.said)}"
        if bad.against is not None:
            yield f"  - the other said: {plain(bad.against)}"
    yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(map(plain, cells))} |"


def plain(text: str) -> str:
    """Other people's text, so that none of it is read as Markdown."""
    return _MEANT.sub(r"\\\1", " ".join(text.split()))
