"""Values of feedback: what people say of captions. As the other messages (`shared/messages.py`):
frozen, versioned, JSON.

    {"v": 1, "kind": "thumb", "up": false, "about": {"record": "s3://b/records/...", ...},
     "reviewer": "kim", "at": "2026-11-30T08:00:00Z"}

One object each, named by what is in it (`feedback_name`), and never changed: who changes his mind
says so again, later. Knows nothing of where they lie, nor of what is trained on them.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.errors import BadMessage
from shared.messages import AdapterUsed, Caption, Count, Message, Video, decode
from shared.prompts import MARK
from shared.rows import Words
from shared.text import composed, stray

MOST_BYTES = 1 << 20
"""Of one object: two texts, and what they are about."""
Text = Annotated[Words, Field(max_length=20_000)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Judged(Message):
    """The caption that was judged: its record, and what that said."""

    record: Annotated[str, StringConstraints(pattern="^s3://.")]
    """Its address."""
    recipe_id: str
    video: Video
    text_sha256: Digest
    """Of what it said, by `text_digest`."""
    adapter: AdapterUsed | None = None
    """Whose caption it is; None = the base model's."""


def _in_utc(at: datetime) -> datetime:
    """As it is written. At the ends of time another zone may lie beyond it."""
    try:
        at.astimezone(UTC)
    except OverflowError:
        raise _error("no such time is known in UTC") from None
    return at


class _Said(Message):
    """What all kinds have."""

    v: Count = 1
    about: Judged
    reviewer: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    """A name or an id; two of them are two people."""
    at: Annotated[AwareDatetime, AfterValidator(_in_utc)]
    """When they said so. Of what one person says of the same, the last counts."""
    source: Annotated[str, StringConstraints(max_length=200)] | None = None
    """Where it was said: `jamak`, `label-studio`, `argilla`, or any name."""


class Preference(_Said):
    """Of two captions the better one. One of the two is the one that is judged."""

    kind: Literal["preference"] = "preference"
    chosen: Text
    rejected: Text

    @model_validator(mode="after")
    def _two_texts_of_which_one_is_judged(self) -> Self:
        digests = text_digest(self.chosen), text_digest(self.rejected)
        if digests[0] == digests[1]:
            raise _error("chosen and rejected are the same text")
        if self.about.text_sha256 not in digests:
            raise _error("neither chosen nor rejected is the caption that it is about")
        _check(self.chosen, self.rejected)
        return self

    @property
    def liked(self) -> bool:
        return text_digest(self.chosen) == self.about.text_sha256


class Thumb(_Said):
    """Whether the caption is as it should be."""

    kind: Literal["thumb"] = "thumb"
    up: bool

    @property
    def liked(self) -> bool:
        return self.up


class Correction(_Said):
    """What the caption should have said."""

    kind: Literal["correction"] = "correction"
    text: Text

    @model_validator(mode="after")
    def _another_text(self) -> Self:
        if text_digest(self.text) == self.about.text_sha256:
            raise _error("the correction is what the caption says already")
        _check(self.text)
        return self

    @property
    def liked(self) -> bool:
        return False


Feedback = Annotated[Preference | Thumb | Correction, Field(discriminator="kind")]
"""`liked` says of each whether the caption was found good: a vote for whoever made it."""
Kind = Literal["preference", "thumb", "correction"]
KINDS: dict[str, type[Preference] | type[Thumb] | type[Correction]] = {
    "preference": Preference,
    "thumb": Thumb,
    "correction": Correction,
}


def read_feedback(body: bytes) -> Feedback:
    """One item, as it lies in the bucket.

    Raises:
        NewerMessage: a newer Jamak wrote it.
        BadMessage: it is none, with the first fault named.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"feedback is not JSON: {error}") from error
    kind = told.get("kind") if isinstance(told, dict) else None
    if isinstance(kind, str) and kind in KINDS:
        return decode(KINDS[kind], told)
    try:
        return decode(Thumb, told)  # raises: a kind that came later is no fault, any other is one
    except BadMessage as error:
        known = ", ".join(KINDS)
        raise BadMessage(f"feedback of no known kind; there are {known}") from error


def written(item: Feedback) -> bytes:
    """As it lies in the bucket."""
    return item.model_dump_json(indent=2, exclude_none=True).encode()


def feedback_name(body: bytes) -> str:
    """Of an object: the SHA-256 of its bytes, so that whoever writes it can name it."""
    return hashlib.sha256(body).hexdigest()


def text_digest(text: str) -> str:
    """Of a caption: SHA-256 of its UTF-8, in one form (NFC), without blanks around it."""
    return hashlib.sha256(composed(text).strip().encode()).hexdigest()


def about(caption: Caption, record: str) -> Judged:
    """Args:
    record: its address.
    """
    return Judged(
        record=record,
        recipe_id=caption.recipe_id,
        video=caption.video,
        text_sha256=text_digest(caption.text),
        adapter=caption.adapter,
    )


def feedback_schema() -> dict[str, Any]:
    """JSON Schema of an item: `python -m shared.feedback > docs/feedback.schema.json`."""
    adapter: TypeAdapter[Any] = TypeAdapter(Feedback)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Feedback on a caption of Jamak: a preference, a thumb or a correction",
        **adapter.json_schema(),
    }


def _check(*texts: str) -> None:
    """What no training could take is no feedback."""
    for text in texts:
        if found := stray(text):
            raise _error(f"a text holds {found}, which is no text")
        if mark := MARK.search(text):
            raise _error(f"a text holds {mark[0]}, which models read as a token of its own")


def _error(told: str) -> PydanticCustomError:
    return PydanticCustomError("feedback", "{told}", {"told": told})


if __name__ == "__main__":
    print(json.dumps(feedback_schema(), indent=2, ensure_ascii=False))
