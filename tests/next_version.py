"""What the next version of Jamak writes: of each kind of message one version more, and a field that
this one does not know."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from producer.backlog import manifest as backlog_files
from producer.backlog import scan
from shared.bucket import records, registry, training
from shared.messages import Message
from workers import tasks


def next_of(kind: type[Message]) -> type[Message]:
    """The same, by its name and by what it reads: also what this version writes."""
    fields = {"v": kind.model_fields["v"].default + 1, "novelty": ""}
    return type(
        kind.__name__,
        (kind,),
        {
            "__module__": __name__,
            "__annotations__": {"v": int, "novelty": str},
            **fields,
        },
    )


PLACES = {
    "Caption": (records,),
    "Failure": (records,),
    "CaptionJob": (tasks,),
    "Pointer": (registry,),
    "AdapterManifest": (registry,),
    "TrainOutcome": (training,),
    "Manifest": (backlog_files, scan),
    "Cursor": (backlog_files,),
}
"""Where each kind is read and written."""


@contextmanager
def upgraded() -> Iterator[None]:
    """What this process does inside is done by the next version."""
    with pytest.MonkeyPatch.context() as patch:
        for name, modules in PLACES.items():
            newer = next_of(getattr(modules[0], name))
            for module in modules:
                patch.setattr(module, name, newer)
        yield
