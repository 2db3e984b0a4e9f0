"""A training manifest's rows, read for a stage; and which of them are held out.

Knows nothing of where the media lie, nor of files (workers/train/manifest.py).
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import BadData, ConfigError
from shared.prompts import MARK, check_prompt
from shared.rows import COLUMNS, TAUGHT, MediaRef, Row, Stage, held_out
from shared.text import stray
from workers.train.manifest import Place, Raw, raw_lines, raw_rows

MOST_ROWS = 100_000
CURE = "Take it out of the text."


def read_manifest(body: bytes, name: str, stage: Stage, prompt: str) -> list[Row]:
    """All rows of a manifest; afterwards every row has a prompt and the columns of its stage.

    Args:
        name: or the address; its ending says whether it is Parquet.
        prompt: of the rows that name none.

    Raises:
        BadData: naming the line and what to do about it.
    """
    return with_digests(one_name_each(_read_all(raw_rows(body, name), stage, prompt), name))


def read_rows(text: str, stage: Stage, prompt: str) -> list[Row]:
    """As `read_manifest`, of JSON lines."""
    return with_digests(_read_all(raw_lines(text), stage, prompt))


def _read_all(found: Iterable[Raw], stage: Stage, prompt: str) -> list[Row]:
    rows: list[Row] = []
    places: dict[str, Place] = {}
    for place, raw in found:
        if len(rows) == MOST_ROWS:
            raise too_many_rows()
        row = read_row(raw, place, stage, prompt)
        if row.id in places:
            raise same_id(row, place, places[row.id])
        places[row.id] = place
        rows.append(row)
    if not rows:
        raise no_rows()
    return rows


def one_name_each(rows: Sequence[Row], manifest: str) -> list[Row]:
    """A file named by its address in one row and relative to the manifest in another has one name
    afterwards, that of the first of them: else the one video would train and evaluate.

    Args:
        manifest: its address.
    """
    folder = f"{manifest.rpartition('/')[0]}/"
    names: dict[str, str] = {}
    named = []
    for row in rows:
        uri = row.media.uri
        first = names.setdefault(uri if uri.startswith("s3://") else folder + uri, uri)
        named.append(row if first == uri else row.with_media(uri=first))
    return named


def same_id(row: Row, place: Place, first: Place) -> BadData:
    return BadData(
        place.says(
            f"the id {row.id!r} is that of {'row' if first.is_row else 'line'} {first.number} too"
        ),
        cure="Give every row an id of its own.",
    )


def no_rows() -> BadData:
    return BadData(
        "the training manifest holds no rows", cure="Write one JSON object a line into it."
    )


def too_many_rows() -> BadData:
    return BadData(
        f"the training manifest has more than {MOST_ROWS} rows",
        cure="Train on a part of them, and go on from that adapter with the next part.",
    )


def with_digests(rows: Sequence[Row]) -> list[Row]:
    """A digest that one row of a file gives holds for the others: they are one video.

    Raises:
        BadData: two rows give two.
    """
    firsts: dict[str, Row] = {}
    for row in rows:
        if row.media.sha256 is None:
            continue
        first = firsts.setdefault(row.media.uri, row)
        if first.media.sha256 != row.media.sha256:
            raise BadData(
                f"row {row.id!r}: the sha256 of {row.media.uri} is another one in row {first.id!r}",
                cure="One of the two is out of date: write the file's own into both.",
            )
    return [
        row.with_media(sha256=firsts[row.media.uri].media.sha256)
        if row.media.uri in firsts
        else row
        for row in rows
    ]


def read_row(raw: Any, place: Place, stage: Stage, prompt: str) -> Row:
    """One row, ready for its stage.

    Args:
        raw: as `raw_rows` found it at that place.

    Raises:
        BadData: naming the place and what to do about it.
    """
    row = parse_row(raw, place)
    try:
        return ready(row, stage, prompt)
    except BadData as error:
        raise BadData(place.says(str(error)), cure=error.cure) from error


def parse_row(raw: Any, place: Place) -> Row:
    """As it is written, whatever stage it is for.

    Raises:
        BadData: naming the place.
    """
    if isinstance(raw, BadData):
        raise raw
    try:
        return Row.model_validate(raw)
    except ValidationError as error:
        raise BadData(place.says(fault_of(error)), cure=_cure_of(error)) from error


def _cure_of(error: ValidationError) -> str | None:
    """None: that of all bad data."""
    fault = error.errors()[0]
    *_, name = map(str, fault["loc"] or ("",))
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(name, [*Row.model_fields, *MediaRef.model_fields], n=1)
        return f"Call it {near[0]}." if near else "Remove it: no row has such a column."
    if name in ("start", "end"):
        return "Write seconds, as a number: 12.5."
    if fault["type"] in ("model_type", "dict_type"):
        return "Write one JSON object a line into it."
    return None


def fault_of(error: ValidationError) -> str:
    """The first thing that is wrong with a row: where in it, and what."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]


def ready(row: Row, stage: Stage, prompt: str) -> Row:
    """With a prompt, and the columns of its stage.

    Raises:
        BadData: what it says cannot be trained on, or it is of another stage.
    """
    needed = COLUMNS[stage]
    for column in TAUGHT:
        if (getattr(row, column) is not None) != (column in needed):
            raise BadData(
                f"{'no' if column in needed else 'a'} {column!r} in a row for the stage {stage!r}",
                cure=f"A row of this stage has {' and '.join(needed)}; or choose the other stage.",
            )
    for text in row.texts:
        if found := stray(text):
            raise BadData(f"its text holds {found}, which is no text", cure=CURE)
        if mark := MARK.search(text):
            raise BadData(
                f"its text holds {mark[0]}, which models read as a token of its own", cure=CURE
            )
    try:
        return row.model_copy(update={"prompt": check_prompt(row.prompt or prompt)})
    except ConfigError as error:
        raise BadData(str(error), cure=error.cure) from error


def keep_rows(path: Path, rows: Iterable[Row]) -> None:
    """For a process that works with us, whole."""
    path.write_text("\n".join(row.model_dump_json() for row in rows), encoding="utf-8")


def kept_rows(path: Path) -> list[Row]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Row.model_validate_json(line) for line in lines if line]


def note_skipped(unfit: int, rows: int, error: BadData) -> str:
    return f"{unfit} of {rows} rows are left out, for they cannot be learned: {error}"


def first_rows(rows: Iterable[Row]) -> dict[str, Row]:
    """Each file's URI, and the first row that names it."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row.media.uri, row)
    return found


def first_of_pixels(rows: Iterable[Row]) -> dict[str, Row]:
    """The key of each video, part or image, and the first row that names it."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row.media.key, row)
    return found


def with_splits(rows: Sequence[Row], *, of_thumbs: bool = True) -> list[Row]:
    """Give each row its split: the manifest's own, or a tenth of the videos held out by hash.

    Split by video, never by row: another caption of a training video would be a leak. The hash
    makes it stable: a video stays on its side while the manifest grows.

    Args:
        of_thumbs: False: where thumbs are no thumbs, but captions of another stage.

    Raises:
        BadData: a video is on both sides, or a side is empty; or of thumbs, all that train are up,
            or all are down.
    """
    named = any(row.split == "eval" for row in rows)
    chosen = (
        {row.media.identity for row in rows if row.split == "eval"} if named else held_out(rows)
    )
    if named:
        for row in rows:
            if row.split != "eval" and row.media.identity in chosen:
                raise BadData(
                    f"row {row.id!r} trains on {row.media.uri}, which another row evaluates on",
                    cure="Put all rows of one video on the same side.",
                )
    done = [
        row.model_copy(update={"split": "eval" if row.media.identity in chosen else "train"})
        for row in rows
    ]
    if all(row.split == "eval" for row in done):
        raise BadData(
            "every row is held out for evaluation; nothing is left to train on",
            cure="A manifest needs rows of at least two videos, one of them with split 'train'.",
        )
    if of_thumbs:
        _check_thumbs([row for row in done if row.split == "train"])
    return done


def _check_thumbs(rows: Sequence[Row]) -> None:
    """Of one kind alone nothing is learned but to say more, or less, of everything."""
    labels = {row.label for row in rows}
    if labels in ({True}, {False}):
        raise BadData(
            f"all {len(rows)} captions to train on have the label {str(*labels).lower()}",
            cure="The stage kto needs both; captions that are all right train the stage sft.",
        )
