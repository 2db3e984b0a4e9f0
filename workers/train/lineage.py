"""What an adapter was trained on, and those before it: what a training that goes on may forget.

Knows nothing of rows, nor of what is still there.
"""

from collections.abc import Iterator
from typing import NamedTuple

from shared.bucket.registry import Registry
from shared.bucket.stored import UNREADABLE
from shared.errors import Forbidden, Missing
from shared.training import AdapterManifest, TrainJob

MOST_SETS = 16
"""The newest ones: each is read as a whole, and a fleet that trains every week has many."""


class EarlierSet(NamedTuple):
    data: str
    """`s3://bucket/manifest.jsonl`."""
    prompt: str
    """Of its rows that name none, as they were trained."""


def learned_before(
    job: TrainJob, parent: AdapterManifest | None, registry: Registry
) -> tuple[list[EarlierSet], str | None]:
    """The sets that a job replays, each once, the newest first: the one that it names, or all that
    the adapter that it goes on from has learned; and why those of older ones are not among them."""
    if not job.replay_share:
        return [], None
    if job.replay is not None:
        return [EarlierSet(job.replay, job.prompt)], None
    assert parent is not None, "check_job lets no job through that has neither"
    found: dict[str, EarlierSet] = {}
    manifest, note = parent, None
    seen = {parent.version}
    while True:
        for one in _sets_of(manifest):
            found.setdefault(one.data, one)
        older = manifest.parent
        if older is None or older in seen:
            break
        seen.add(older)
        if len(found) >= MOST_SETS:
            note = note_most(older)
            break
        try:
            manifest = registry.manifest(parent.base.weights_sha256, older)
        except (Missing, Forbidden, *UNREADABLE) as error:
            note = note_unknown(older, error)
            break
    return list(found.values()), note


def _sets_of(manifest: AdapterManifest) -> Iterator[EarlierSet]:
    """Its own; and what it was told to replay, which no adapter before it need have learned."""
    asked = manifest.train_job
    yield EarlierSet(manifest.data, asked.prompt)
    if asked.replay is not None:
        yield EarlierSet(asked.replay, asked.prompt)


def note_most(older: str) -> str:
    return (
        f"nothing is replayed of what the adapter {older[:12]} and those before it were trained "
        f"on: {MOST_SETS} newer sets come first"
    )


def note_unknown(older: str, error: Exception) -> str:
    return (
        f"nothing is replayed of what the adapter {older[:12]} and those before it were trained "
        f"on: {error}"
    )
