"""A training manifest: JSON lines in TRL's column names, one video a row.

    {"id": "a1", "videos": [{"uri": "s3://b/a1.mp4"}], "completion": "...", "split": "train"}
    {"id": "a2", "videos": [{"uri": "clips/a2.mp4"}], "chosen": "...", "rejected": "..."}

Knows nothing of where the videos lie: a URI is only a name here.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from shared.errors import BadData, ConfigError
from shared.prompts import MARK, check_prompt
from shared.text import composed, stray
from shared.training import Stage

Split = Literal["train", "eval"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Words = Annotated[Text, AfterValidator(composed)]
"""What a model should say, or should not; in one form (NFC), as captions are. In another form the
same text would be another text."""

MOST_BYTES, MOST_ROWS, MOST_LINE = 64 << 20, 100_000, 256 << 10
"""Of a manifest: it is read as a whole, and its videos lie on one disk."""
CURE = "Take it out of the text."
HELD_OUT = 0.1
"""Share of the videos that evaluate, where the manifest does not say which."""


class _Part(BaseModel):
    # A misspelt column would otherwise train on the default in silence.
    model_config = ConfigDict(frozen=True, extra="forbid")


class VideoRef(_Part):
    uri: Text
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None
    """Of the file; checked after the download."""

    @property
    def identity(self) -> str:
        """Two names of one content are one video, where the digest tells."""
        return self.sha256 or self.uri


class Row(_Part):
    id: Text
    videos: Annotated[tuple[VideoRef, ...], Field(min_length=1, max_length=1)]
    prompt: Text | None = None
    completion: Words | None = None
    """SFT: what the model should say."""
    chosen: Words | None = None
    """DPO: the better caption of two."""
    rejected: Words | None = None
    split: Split | None = None

    @property
    def video(self) -> VideoRef:
        return self.videos[0]

    @property
    def texts(self) -> list[str]:
        """All that is trained on."""
        return [text for text in (self.completion, self.chosen, self.rejected) if text]

    @property
    def reference(self) -> str:
        """What evaluation compares with."""
        text = self.completion or self.chosen
        assert text is not None, "read_rows lets no row without it through"
        return text


def read_rows(text: str, stage: Stage, prompt: str) -> list[Row]:
    """Parse a manifest; afterwards every row has a prompt and the columns of its stage.

    Args:
        prompt: of the rows that name none.

    Raises:
        BadData: naming the line and what to do about it.
    """
    rows: list[Row] = []
    lines_by_id: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if len(rows) == MOST_ROWS:
            raise BadData(
                f"the training manifest has more than {MOST_ROWS} rows",
                cure="Train on a part of them, and go on from that adapter with the next part.",
            )
        row = _read_row(line, number, stage, prompt)
        if row.id in lines_by_id:
            raise BadData(
                f"line {number}: the id {row.id!r} is that of line {lines_by_id[row.id]} too",
                cure="Give every row an id of its own.",
            )
        lines_by_id[row.id] = number
        rows.append(row)
    if not rows:
        raise BadData(
            "the training manifest holds no rows", cure="Write one JSON object a line into it."
        )
    return rows


def _read_row(line: str, number: int, stage: Stage, prompt: str) -> Row:
    if len(line) > MOST_LINE:
        raise BadData(
            f"line {number} has {len(line)} characters; it may have {MOST_LINE}",
            cure="Write one JSON object a line, of one video.",
        )
    try:
        row = Row.model_validate(json.loads(line))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "row"
        raise BadData(f"line {number}: {where}: {fault['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise BadData(
            f"line {number} is not JSON: {error}", cure="Write one JSON object a line."
        ) from error
    needed = ("completion",) if stage == "sft" else ("chosen", "rejected")
    for column in ("completion", "chosen", "rejected"):
        if (getattr(row, column) is not None) != (column in needed):
            raise BadData(
                f"line {number}: {'no' if column in needed else 'a'} {column!r} in a row for "
                f"the stage {stage!r}",
                cure=f"A row of this stage has {' and '.join(needed)}; or choose the other stage.",
            )
    for text in row.texts:
        _check_words(text, number)
    try:
        return row.model_copy(update={"prompt": check_prompt(row.prompt or prompt)})
    except ConfigError as error:
        raise BadData(f"line {number}: {error}", cure=error.cure) from error


def _check_words(text: str, number: int) -> None:
    if found := stray(text):
        raise BadData(f"line {number}: its text holds {found}, which is no text", cure=CURE)
    if mark := MARK.search(text):
        raise BadData(
            f"line {number}: its text holds {mark[0]}, which models read as a token of its own",
            cure=CURE,
        )


def first_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """Each video's URI, and the first row that names it."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row.video.uri, row)
    return found


def with_splits(rows: Sequence[Row]) -> list[Row]:
    """Give each row its split: the manifest's own, or a tenth of the videos held out by hash.

    Split by video, never by row: another caption of a training video would be a leak. The hash
    makes it stable: a video stays on its side while the manifest grows.

    Raises:
        BadData: a video is on both sides, or a side is empty.
    """
    named = any(row.split == "eval" for row in rows)
    held_out = (
        {row.video.identity for row in rows if row.split == "eval"} if named else _tenth(rows)
    )
    if named:
        for row in rows:
            if row.split != "eval" and row.video.identity in held_out:
                raise BadData(
                    f"row {row.id!r} trains on {row.video.uri}, which another row evaluates on",
                    cure="Put all rows of one video on the same side.",
                )
    done = [
        row.model_copy(update={"split": "eval" if row.video.identity in held_out else "train"})
        for row in rows
    ]
    if all(row.split == "eval" for row in done):
        raise BadData(
            "every row is held out for evaluation; nothing is left to train on",
            cure="A manifest needs rows of at least two videos, one of them with split 'train'.",
        )
    return done


def _tenth(rows: Sequence[Row]) -> set[str]:
    """At least one video: the one of smallest hash."""
    places = {row.video.identity: _place(row.video.identity) for row in rows}
    return {video for video, place in places.items() if place < HELD_OUT} or {
        min(places, key=lambda video: places[video])
    }


def _place(identity: str) -> float:
    """Evenly spread over [0, 1)."""
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) / 2**64
