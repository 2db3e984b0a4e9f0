"""What is found in a file of a data set: what could become a row, and what could not, and why."""

import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import BadData
from shared.rows import Stage

MOST_BYTES = 1 << 30
"""Of one file, unpacked: it is read as a whole."""
UP = frozenset({"true", "1", "yes", "up", "good", "👍", "예", "좋음", "좋아요"})
DOWN = frozenset({"false", "0", "no", "down", "bad", "👎", "아니요", "나쁨", "싫어요"})


@dataclass(frozen=True)
class File:
    name: str
    """Under what was asked for, with slashes."""
    body: bytes


@dataclass(frozen=True)
class Found:
    place: str
    """`file:line`, or `file#3`: the third of what is in it."""
    media: str
    """As the data set calls it."""
    columns: Mapping[str, Any]
    """Of the row, without its media; an `id` only if the data set has one."""
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class LeftOut:
    place: str
    why: str


@dataclass(frozen=True)
class Asked:
    stage: Stage
    """Whose columns are wanted."""
    question: str | None = None
    """Of an annotation tool that asks several: this one's answers are the texts."""


Layout = Callable[[File, Asked], Iterator[Found | LeftOut]]
"""Raises BadData: the file is of another layout altogether."""


@dataclass
class Texts:
    """What one annotator said of a video: becomes the columns of whichever stage is asked for."""

    written: str | None = None
    """By a person."""
    shown: str | None = None
    """What they were shown, as a model said it."""
    liked: bool | None = None
    """Whether that is right."""
    better: tuple[str, str] | None = None
    """Of two that were shown: chosen, rejected."""
    more: dict[str, Any] = field(default_factory=dict)

    def columns(self, stage: Stage) -> list[dict[str, Any]] | str:
        """One for each row; or why there is none."""
        if stage == "dpo":
            found = self._pair()
            return found if isinstance(found, str) else [{**found, **self.more}]
        if stage == "kto":
            thumbs = self._thumbs()
            if not thumbs:
                return "nobody said whether its text is good"
            return [{**one, **self.more} for one in thumbs]
        text = self.written or (self.shown if self.liked else None)
        if text is None:
            return "nobody wrote a text for it"
        return [{"completion": text, "origin": "human", **self.more}]

    def _pair(self) -> dict[str, Any] | str:
        if self.better is not None:
            chosen, rejected = self.better
        elif self.written is not None and self.shown is not None:
            chosen, rejected = self.written, self.shown
        else:
            return "there are not two texts to choose from"
        if chosen.strip() == rejected.strip():
            return "both texts are the same"
        return {"chosen": chosen, "rejected": rejected, "origin": "human"}

    def _thumbs(self) -> list[dict[str, Any]]:
        found = []
        corrected = None not in (self.written, self.shown) and self.written != self.shown
        liked = self.liked if self.liked is not None else (False if corrected else None)
        if self.written is not None and self.shown is not None and not corrected:
            liked = True
        if self.shown is not None and liked is not None:
            found.append({"completion": self.shown, "label": liked, "origin": "synthetic"})
        if self.written is not None and corrected:
            found.append({"completion": self.written, "label": True, "origin": "human"})
        return found


def text_of(file: File) -> str:
    """Korean Excel and older Korean tools write CP949; whatever is valid UTF-8 is that.

    Raises:
        BadData: it is neither.
    """
    body = file.body
    if file.name.endswith(".gz"):
        try:
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MOST_BYTES + 1)
        except (OSError, EOFError) as error:
            raise BadData(f"{file.name} is damaged: {error}", cure="Fetch it again.") from error
    if len(body) > MOST_BYTES:
        raise BadData(
            f"{file.name} has more than {MOST_BYTES >> 20} MiB", cure="Cut it into smaller ones."
        )
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadData(f"{file.name} is neither UTF-8 nor CP949", cure="Save it as UTF-8.")


def items_of(file: File) -> Iterator[tuple[str, Any]]:
    """Of a JSON array, a JSON object alone, or JSON lines: each with its place.

    Raises:
        BadData: it is no JSON.
    """
    text = text_of(file)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if len(lines) < 2:
            raise BadData(f"{file.name} is not JSON: {error}", cure="Fetch it again.") from error
        for number, line in lines:
            try:
                yield f"{file.name}:{number}", json.loads(line)
            except (ValueError, RecursionError) as fault:
                if number == lines[0][0]:
                    raise BadData(
                        f"{file.name} is not JSON: {error}", cure="Fetch it again."
                    ) from fault
                yield f"{file.name}:{number}", None
        return
    if isinstance(whole, list):
        for number, item in enumerate(whole, start=1):
            yield f"{file.name}#{number}", item
    else:
        yield file.name, whole


def seconds(said: Any) -> float | None:
    """A number of seconds, `"0:16.00000"` or `"1:02:03.5"`; None: it is nothing of that."""
    if isinstance(said, bool) or said is None:
        return None
    try:
        parts = [float(part) for part in str(said).split(":")]
    except ValueError:
        return None
    if len(parts) > 3 or not all(0 <= part < float("inf") for part in parts):
        return None
    total = 0.0
    for part in parts:
        total = total * 60 + part
    return total


def thumb(said: Any) -> bool | None:
    word = str(said).strip().casefold()
    return True if word in UP else False if word in DOWN else None


def text_in(value: Any) -> str | None:
    """A text that says something; of several, as annotation tools keep them, all in their order."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = "\n".join(value)
    return value if isinstance(value, str) and value.strip() else None
