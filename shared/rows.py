"""A row of a training set: one video, a part of one, or a still image, and what is to be learned.

    {"id": "a1", "videos": [{"uri": "s3://b/a1.mp4"}], "completion": "...", "split": "train"}
    {"id": "a2", "videos": [{"uri": "clips/a2.mp4", "start": 4.0, "end": 9.5}],
     "chosen": "...", "rejected": "..."}
    {"id": "a3", "images": [{"uri": "a3.png"}], "completion": "...", "label": false}

The columns are TRL's. Knows nothing of where the media lie (a URI is only a name here), of files
of rows, or of what a model makes of them.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.text import composed

Stage = Literal["align", "sft", "dpo", "kto"]
Split = Literal["train", "eval"]
Origin = Literal["human", "synthetic"]
FrameOrder = Literal["reversed", "shuffled"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Words = Annotated[Text, AfterValidator(composed)]
"""What a model should say, or should not; in one form (NFC), as captions are. In another form the
same text would be another text."""
Seconds = Annotated[float, Strict(), Field(allow_inf_nan=False)]
"""A number: text such as "0:16" is no number, and is refused."""

COLUMNS: dict[Stage, tuple[str, ...]] = {
    "align": ("completion",),
    "sft": ("completion",),
    "dpo": ("chosen", "rejected"),
    "kto": ("completion", "label"),
}
"""What a row of each stage teaches. It has these columns and no other stage's."""
MOST_BYTES = 64 << 20
"""Of a set in one file: it is read as a whole by a training, and its videos lie on one disk."""
HELD_OUT = 0.1
"""Share of the videos that evaluate, where the rows do not say which."""
TAUGHT = ("completion", "chosen", "rejected", "label")


class _Part(BaseModel):
    # A misspelt column would otherwise train on the default in silence.
    model_config = ConfigDict(frozen=True, extra="forbid")


def _error(told: str) -> PydanticCustomError:
    return PydanticCustomError("row", "{told}", {"told": told})


class MediaRef(_Part):
    """A video, a part of it in seconds, or an image."""

    uri: Text
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None
    """Of the file; checked after the download."""
    start: Annotated[Seconds, Field(ge=0)] | None = None
    """Of a part of a video, from its first frame on; None = from the beginning."""
    end: Annotated[Seconds, Field(gt=0)] | None = None
    """None = to the end."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end is not None and self.end <= (self.start or 0):
            raise _error(f"the part ends at {self.end} s, not after its start at {self.start} s")
        return self

    @property
    def identity(self) -> str:
        """Of the file: two names of one content are one video, where the digest tells."""
        return self.sha256 or self.uri

    @property
    def whole(self) -> bool:
        return not self.start and self.end is None

    @property
    def key(self) -> str:
        """Of the pixels: parts of one video are told apart, as in a URI of the W3C's Media
        Fragments (w3.org/TR/media-frags)."""
        if self.whole:
            return self.identity
        return f"{self.identity}#t={self.start or 0.0},{'' if self.end is None else self.end}"


# Parquet has each column in each row: what is not there is null.
_Media = Annotated[
    tuple[MediaRef, ...],
    BeforeValidator(lambda found: () if found is None else found),
    Field(max_length=1),
]


class Row(_Part):
    id: Text
    videos: _Media = ()
    images: _Media = ()
    """Instead of `videos`: a still, which is trained as a video of one frame."""
    prompt: Text | None = None
    """None = the job's."""
    completion: Words | None = None
    """What the model should say; of a row with a `label`, what it said."""
    chosen: Words | None = None
    """DPO: the better caption of two."""
    rejected: Words | None = None
    rejected_frames: FrameOrder | None = None
    """DPO: `rejected` is judged before the same frames in this order, and may then be what is
    `chosen` before them as they are; None = before the same."""
    label: Annotated[bool, Strict()] | None = None
    """KTO, thumb up or down: whether `completion` is what it should say."""
    split: Split | None = None
    source: Text | None = None
    """Which data set it is from, or who wrote it. This and the next two are kept and not used."""
    license: Text | None = None
    origin: Origin | None = None

    @model_validator(mode="after")
    def _one_medium(self) -> Self:
        if len(self.videos) + len(self.images) != 1:
            raise _error("videos or images: a row has exactly one of them")
        if self.images and (self.images[0].start is not None or self.images[0].end is not None):
            raise _error("images.0: an image has no start and no end")
        return self

    @model_validator(mode="after")
    def _a_preference(self) -> Self:
        if self.rejected_frames and (self.rejected is None or self.images):
            raise _error("rejected_frames: only a rejected text before a video's frames has them")
        if self.chosen and self.chosen == self.rejected and not self.rejected_frames:
            raise _error("chosen and rejected are the same text before the same frames")
        return self

    @property
    def media(self) -> MediaRef:
        return (self.videos or self.images)[0]

    @property
    def texts(self) -> list[str]:
        """All that is trained on."""
        return [text for text in (self.completion, self.chosen, self.rejected) if text]

    @property
    def reference(self) -> str:
        """What evaluation compares with."""
        text = self.completion or self.chosen
        assert text is not None, "no reader lets a row without it through"
        return text

    def with_media(self, **changes: Any) -> "Row":
        column = "videos" if self.videos else "images"
        return self.model_copy(update={column: (self.media.model_copy(update=changes),)})


def held_out(rows: Sequence[Row], share: float = HELD_OUT) -> set[str]:
    """The videos of the smallest hashes, by their `identity`: at least one, and never all."""
    places = {row.media.identity: _place(row.media.identity) for row in rows}
    ordered = sorted(places, key=lambda video: places[video])
    return {video for video in ordered[:-1] if places[video] < share} or {*ordered[:1]}


def _place(identity: str) -> float:
    """Evenly spread over [0, 1)."""
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) / 2**64


KINDS: dict[str, Stage] = {"captions": "sft", "preferences": "dpo", "thumbs": "kto"}
"""What a manifest holds, and a stage that takes it; `align` takes captions, too."""


def row_schema(kind: str) -> dict[str, Any]:
    """JSON Schema of a manifest's row: `python -m shared.rows docs` writes them all."""
    whole = Row.model_json_schema()
    needed = COLUMNS[KINDS[kind]]
    properties = whole["properties"]
    for column in TAUGHT:
        if column in needed:
            given, _null = properties[column].pop("anyOf")
            properties[column] = given | {"title": properties[column]["title"]}
        else:
            properties[column] = {"type": "null", "title": "Of another kind of rows"}
    if "rejected" not in needed:
        properties["rejected_frames"] = {"type": "null", "title": "Of another kind of rows"}
    for column in ("videos", "images"):
        properties[column] = {
            "title": column.title(),
            "type": ["array", "null"],
            "items": {"$ref": "#/$defs/MediaRef"},
            "maxItems": 1,
        }
    still = {"properties": {"start": {"type": "null"}, "end": {"type": "null"}}}
    properties["images"]["items"] |= still
    nothing: dict[str, Any] = {"enum": [None, []]}
    one = {"type": "array", "minItems": 1}
    if "rejected" in needed:
        turned = {"properties": {"images": one, "rejected_frames": {"type": "string"}}}
        whole["not"] = {**turned, "required": ["images", "rejected_frames"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "title": f"A row of a training set of Jamak: {kind}",
        "properties": properties,
        "required": ["id", *needed],
        "oneOf": [
            {"required": [there], "properties": {there: one, other: nothing}}
            for there, other in (("videos", "images"), ("images", "videos"))
        ],
    }


if __name__ == "__main__":
    for kind in KINDS:
        text = json.dumps(row_schema(kind), indent=2, ensure_ascii=False)
        (Path(sys.argv[1]) / f"rows-{kind}.schema.json").write_text(text + "\n", encoding="utf-8")
