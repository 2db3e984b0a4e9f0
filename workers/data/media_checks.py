"""What the media of a training set tell: unreadable ones, the same bytes under two names, parts
that lie outside of their videos."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from shared.errors import BadData
from shared.rows import Row
from workers.data.findings import Finding, Told, row_faults
from workers.data.media import Media
from workers.train.row_limits import no_other_order

LATE_S = 1.0
"""A part may end so much after its video: annotations are rounded."""


def check_media(rows: Sequence[Row], media: Media) -> Iterator[Finding]:
    """Args:
    rows: with their splits.
    """
    yield from _unreadable(rows, media)
    yield from row_faults("no_order", _without_order(rows, media))
    yield from _late_parts(rows, media)
    yield from _same_bytes(rows, media)


def _unreadable(rows: Sequence[Row], media: Media) -> Iterator[Finding]:
    told = [
        Told(row.id, str(error), error.cure)
        for row in rows
        if (error := media.unreadable.get(row.media.key)) is not None
    ]
    if told:
        yield Finding(
            "unreadable",
            "error",
            f"rows whose video or image cannot be used: {len(told)}",
            cure="Mend or upload what they name, or remove these rows.",
            told=tuple(told),
        )


def _without_order(rows: Sequence[Row], media: Media) -> Iterator[tuple[Row, BadData]]:
    for row in rows:
        if row.rejected_frames and media.frames.get(row.media.key) == 1:
            yield row, no_other_order(row)


def _late_parts(rows: Sequence[Row], media: Media) -> Iterator[Finding]:
    told = []
    for row in rows:
        seen, end = media.seen.get(row.media.uri), row.media.end
        if row.media.key in media.unreadable:
            continue
        if seen and end is not None and end > seen.seconds + LATE_S:
            told.append(Told(row.id, f"{end:g} s of {seen.seconds:.2f} s"))
    if told:
        yield Finding(
            "late_part",
            "warning",
            f"parts that end after their video does: {len(told)}",
            cure="Look whether these times were taken from another cut of the video.",
            told=tuple(told),
        )


def _same_bytes(rows: Sequence[Row], media: Media) -> Iterator[Finding]:
    """Two names of one content: its rows are no two videos, and may lie on both sides."""
    by_content: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if content := media.contents.get(row.media.uri):
            by_content[content][row.media.uri].append(row)
    twice = [list(names.values()) for names in by_content.values() if len(names) > 1]
    leaks = [names for names in twice if len({row.split for rows in names for row in rows}) > 1]
    for kind, groups in (("leak", leaks), ("same_bytes", [n for n in twice if n not in leaks])):
        told = tuple(
            Told(row.id, row.media.uri) for names in groups for those in names for row in those
        )
        if kind == "leak" and told:
            yield Finding(
                "leak",
                "error",
                "files that are trained on under one name and held out under another, with the "
                f"same bytes: {len(groups)}",
                cure="Put them on the same side, or give their rows the sha256 of the file: then "
                "they count as one.",
                told=told,
            )
        elif told:
            yield Finding(
                "same_bytes",
                "warning",
                f"files that have the same bytes under several names: {len(groups)}",
                cure="Keep one of the names; or give their rows the sha256 of the file: then they "
                "count as one.",
                told=told,
            )
