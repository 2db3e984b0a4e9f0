"""What can be said of a training set from its rows alone, without a model or a video."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from shared.errors import BadData
from shared.rows import Row, Stage
from workers.caption.checks import hangul_share
from workers.data.findings import Finding, Told, faults, named
from workers.train.data import with_splits
from workers.train.gate import ENOUGH_VIDEOS

LITTLE_KOREAN = 0.5
"""Of the letters: a caption below is flagged `wrong_language` (workers/caption/checks.py)."""
RARE = 0.1
"""Share of the rarer thumb from which KTO learns little of it."""


def check_texts(rows: Sequence[Row], stage: Stage) -> Iterator[Finding]:
    yield from _repeated(rows)
    yield from _little_korean(rows)
    if stage == "kto":
        yield from _thumbs(rows)


def split_rows(rows: Sequence[Row]) -> tuple[list[Row], list[Finding]]:
    """The rows with their split, and why they have none: the training would stop there."""
    held_out = {row.media.identity for row in rows if row.split == "eval"}
    both = [row for row in rows if row.split != "eval" and row.media.identity in held_out]
    if both:
        error = BadData(
            f"rows that train on what other rows evaluate on: {len(both)}",
            cure="Put all rows of one video on the same side: `jamak data split` does.",
        )
        return list(rows), [Finding("leak", "error", str(error), error.cure, named(both))]
    try:
        return with_splits(rows), []
    except BadData as error:
        return list(rows), list(faults("split", [("", error)]))


def check_held_out(rows: Sequence[Row]) -> Iterator[Finding]:
    """Args:
    rows: with their splits.
    """
    held_out = {row.media.identity for row in rows if row.split == "eval"}
    if held_out and len(held_out) < ENOUGH_VIDEOS:
        yield Finding(
            "few_held_out",
            "warning",
            f"held-out media: {len(held_out)}; fewer than {ENOUGH_VIDEOS} do not prove that an "
            "adapter got better, so that it is not put to use by itself",
            cure='Hold more out: `jamak data split`, or "split": "eval" in their rows.',
        )


def _repeated(rows: Sequence[Row]) -> Iterator[Finding]:
    firsts: dict[tuple[object, ...], str] = {}
    told = []
    for row in rows:
        same = (row.media.key, row.prompt, *row.texts, row.rejected_frames, row.label)
        if (first := firsts.setdefault(same, row.id)) != row.id:
            told.append(Told(row.id, f"as {first}"))
    if told:
        yield Finding(
            "repeated",
            "warning",
            f"rows that repeat what another row says of the same medium: {len(told)}",
            cure="Take them out, unless they are meant to count more than once.",
            told=tuple(told),
        )


def _little_korean(rows: Sequence[Row]) -> Iterator[Finding]:
    told = [
        Told(row.id, f"{share:.0%}")
        for row in rows
        if row.label is not False and (share := hangul_share(row.reference)) < LITTLE_KOREAN
    ]
    if told:
        yield Finding(
            "little_korean",
            "warning",
            f"texts of which less than half of the letters are Korean: {len(told)} of {len(rows)}; "
            "captions like them are flagged wrong_language",
            cure="Translate them, or take their rows out.",
            told=tuple(told),
        )


def _thumbs(rows: Sequence[Row]) -> Iterator[Finding]:
    labels: dict[tuple[str, str | None], set[bool | None]] = defaultdict(set)
    for row in rows:
        labels[row.media.key, row.completion].add(row.label)
    if both := [row for row in rows if len(labels[row.media.key, row.completion]) > 1]:
        yield Finding(
            "contradiction",
            "warning",
            "rows whose text of the same medium has a thumb up in one row and a thumb down in "
            f"another: {len(both)}",
            cure="Decide for one of them.",
            told=named(both),
        )
    thumbs = Counter(row.label for row in rows)
    rarer = min(thumbs[True], thumbs[False])
    if rarer < RARE * len(rows):
        yield Finding(
            "one_sided",
            "warning",
            f"thumbs up {thumbs[True]}, down {thumbs[False]}: of the rarer ones little is learned",
            cure="Collect more of them, or leave some of the others out.",
        )
