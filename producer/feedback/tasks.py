"""Captions for people to judge, as annotation tools take them.

Each names the record of its caption, so that what is said of it comes back to it. A second text of
the same video stands beside it where there is one: which of the two is on the left is decided by a
hash, for people like what is on the left. Where captions come from, candidates.py knows.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from shared.messages import Caption

Tool = Literal["argilla", "label-studio"]


@dataclass(frozen=True)
class Task:
    record: str
    """The address of the caption's record."""
    caption: Caption
    other: str | None = None
    """Another text for the same video."""

    @property
    def pair(self) -> tuple[str, str] | None:
        """The left one, the right one."""
        if self.other is None:
            return None
        swapped = hashlib.sha256(self.record.encode()).digest()[0] % 2
        return (self.other, self.caption.text) if swapped else (self.caption.text, self.other)


def _label_studio(task: Task) -> dict[str, Any]:
    """labelstud.io/guide/tasks. A field that its template names has to be in every task."""
    left, right = task.pair or ("", "")
    return {
        "data": {
            "video": task.caption.video.uri,
            "record": task.record,
            "caption": task.caption.text,
            "text1": left,
            "text2": right,
        }
    }


def _argilla(task: Task) -> dict[str, Any]:
    """docs.argilla.io, `Record.from_dict`: what `dataset.records.from_json` reads."""
    pair = dict(zip(("text1", "text2"), task.pair or (), strict=False))
    adapter = task.caption.adapter
    agent = adapter.version if adapter else task.caption.model.id
    suggested = {"value": task.caption.text, "score": None, "agent": agent}
    return {
        "id": task.record,
        "fields": {"caption": task.caption.text, **pair},
        "metadata": {"video": task.caption.video.uri, "record": task.record},
        "suggestions": {"correction": suggested},
        "responses": {},
        "vectors": {},
    }


WRITERS: Mapping[Tool, Callable[[Task], dict[str, Any]]] = MappingProxyType(
    {"argilla": _argilla, "label-studio": _label_studio}
)


def written(tasks: Iterable[Task], tool: Tool) -> bytes:
    """One JSON array, a task a line."""
    lines = ",\n".join(json.dumps(WRITERS[tool](task), ensure_ascii=False) for task in tasks)
    return f"[\n{lines}\n]\n".encode()
