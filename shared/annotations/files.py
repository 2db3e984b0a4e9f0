"""Files of JSON that others wrote: what is in them, and where."""

import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shared.errors import BadData

MOST_BYTES = 1 << 30
"""Of one file, unpacked: it is read as a whole."""


@dataclass(frozen=True)
class File:
    name: str
    """Under what was asked for, with slashes."""
    body: bytes


@dataclass(frozen=True)
class LeftOut:
    place: str
    """`file:line`, or `file#3`: the third of what is in it."""
    why: str


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


def text_in(value: Any) -> str | None:
    """A text that says something; of several, as annotation tools keep them, all in their order."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = "\n".join(value)
    return value if isinstance(value, str) and value.strip() else None
