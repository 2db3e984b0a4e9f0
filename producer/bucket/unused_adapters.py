"""Versions of adapters that nobody needs any more: found from the bucket, and deleted.

Needed is what is in use or was, as far back as a pointer remembers and a rollback reaches; what a
training goes on from that has not ended; and what is young, for somebody may be about to use it.
Knows nothing of what is in a version.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.bucket.registry import VERSION, Registry
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.training import TrainingRecords
from shared.settings import Settings

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Unused:
    base: str
    """The start of the digest of its base model."""
    version: str
    size_bytes: int
    modified: datetime
    keys: tuple[str, ...]
    """The manifest first: without it there is no such version, whatever is left of it."""


def unused_adapters(store: ObjectStore, settings: Settings, older_than: timedelta) -> list[Unused]:
    """The oldest first.

    Raises:
        NewerObject, DamagedObject: a pointer or a training cannot be read, so nobody can say what
            is needed.
    """
    root = f"{settings.output_prefix}adapters/"
    versions: dict[tuple[str, str], list[ObjectInfo]] = {}
    for item in store.list(settings.output_bucket, root):
        base, _, rest = item.key.removeprefix(root).partition("/")
        version, slash, _ = rest.partition("/")
        if slash and VERSION.fullmatch(version):  # and not the pages of a trial
            versions.setdefault((base, version), []).append(item)
    registry = Registry(store, settings.output_bucket, settings.output_prefix)
    used = {base: _used(registry, base) for base in {base for base, _ in versions}}
    parents = tuple(_parents(store, settings))
    since = datetime.now(UTC) - older_than
    found = [
        _unused(base, version, items)
        for (base, version), items in versions.items()
        if version not in used[base]
        and not (parents and version.startswith(parents))
        and max(item.last_modified for item in items) < since
    ]
    return sorted(found, key=lambda one: one.modified)


def delete(store: ObjectStore, settings: Settings, unused: Unused) -> bool:
    """False: it is in use by now, and stays."""
    registry = Registry(store, settings.output_bucket, settings.output_prefix)
    if unused.version in _used(registry, unused.base):
        return False
    for key in unused.keys:
        store.delete(settings.output_bucket, key)
    return True


def _used(registry: Registry, base: str) -> set[str | None]:
    pointer = registry.pointer(base)
    tried = pointer.canary.version if pointer.canary else None
    used = (stop.version for stop in pointer.history)
    return {pointer.version, pointer.previous, tried, *used}


def _parents(store: ObjectStore, settings: Settings) -> Iterator[str]:
    """Of the trainings that have not ended: versions, or the starts of them."""
    records = TrainingRecords(store, settings.output_bucket, settings.output_prefix)
    for job_id, has_ended in records.ids():
        asked = None if has_ended else records.asked(job_id)
        if asked is not None and asked.job.start_from is not None:
            yield asked.job.start_from


def _unused(base: str, version: str, items: list[ObjectInfo]) -> Unused:
    keys = sorted((item.key for item in items), key=lambda key: not key.endswith(f"/{MANIFEST}"))
    size_bytes = sum(item.size_bytes for item in items)
    return Unused(base, version, size_bytes, max(i.last_modified for i in items), tuple(keys))
