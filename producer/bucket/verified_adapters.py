"""Whether adapter versions are what they say: by the same checks as the workers', and by what lies
around them. What only the model can tell (names and shapes of tensors) is the workers' to check.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.bucket.registry import VERSION, Registry, base_name
from shared.bucket.reports import TYPES, Reports
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.errors import BadAdapter, Missing, UsageError
from shared.settings import Settings
from shared.training import AdapterManifest, Pointer

MANIFEST = "manifest.json"
REPORTS = {f"judged.{ending}" for ending in TYPES}


@dataclass
class Verified:
    base: str
    """The start of the digest of its base model."""
    version: str
    size_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    """Empty: it is what was published."""
    notes: list[str] = field(default_factory=list)
    """What one should know, though nothing is wrong with it."""

    @property
    def is_whole(self) -> bool:
        return not self.faults


class Verifier:
    """Reads all of the versions' files; changes nothing."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store, self._bucket = store, settings.output_bucket
        self._root = f"{settings.output_prefix}adapters/"
        self._registry = Registry(store, self._bucket, settings.output_prefix)
        self._reports = Reports(store, self._bucket, settings.output_prefix)

    def found(self, beginning: str | None = None) -> dict[tuple[str, str], list[ObjectInfo]]:
        """(base, version) -> its objects.

        Raises:
            UsageError: no version begins so, or several do.
        """
        versions: dict[tuple[str, str], list[ObjectInfo]] = {}
        for item in self._store.list(self._bucket, self._root):
            base, _, rest = item.key.removeprefix(self._root).partition("/")
            version, slash, _ = rest.partition("/")
            if slash and VERSION.fullmatch(version) and version.startswith(beginning or ""):
                versions.setdefault((base, version), []).append(item)
        if beginning is not None and (len(versions) != 1 or not beginning):
            raise UsageError(
                f"{len(versions)} adapter versions begin with {beginning!r}",
                cure="`jamak adapters list` shows them.",
            )
        return versions

    def verify(
        self,
        base: str,
        version: str,
        items: list[ObjectInfo],
        on_chunk: Callable[[], None] = lambda: None,
    ) -> Verified:
        """Args:
        on_chunk: called after each piece that came.
        """
        told = Verified(base, version, sum(item.size_bytes for item in items))
        names = {item.key.removeprefix(f"{self._root}{base}/{version}/") for item in items}
        if MANIFEST not in names:
            told.notes.append("it was never completed: it has no manifest")
            return told
        try:
            manifest = self._registry.manifest(base, version)
            self._registry.check(manifest, manifest.base.weights_sha256, version)
        except (BadAdapter, Missing, *UNREADABLE) as error:
            told.faults.append(str(error))
            return told
        if base_name(manifest.base.weights_sha256) != base:
            told.faults.append(f"it is of the base model {manifest.base.weights_sha256[:12]}")
        told.faults += self._files(manifest, on_chunk)
        told.faults += self._lineage(base, manifest, told.notes)
        told.faults += self._report(base, version)
        if others := names - {MANIFEST, *manifest.files, *REPORTS}:
            told.notes.append(f"nobody reads what else lies there: {', '.join(sorted(others))}")
        return told

    def pointed_at(self) -> Iterator[tuple[str, str]]:
        """Base and fault: what a pointer names and is not there."""
        for base in self._store.folders(self._bucket, self._root):
            try:
                pointer = self._registry.pointer(base)
            except UNREADABLE as error:
                yield base, str(error)
                continue
            for version, fault in _named(pointer).items():
                key = f"{self._root}{base}/{version}/{MANIFEST}"
                if not self._store.exists(self._bucket, key):
                    yield base, fault

    def _files(self, manifest: AdapterManifest, on_chunk: Callable[[], None]) -> Iterator[str]:
        for name in sorted(manifest.files):
            with tempfile.TemporaryDirectory(prefix="jamak-verify-") as folder:
                try:
                    self._registry.fetch(manifest, name, Path(folder), on_chunk)
                except (BadAdapter, Missing) as error:
                    yield str(error)

    def _lineage(self, base: str, manifest: AdapterManifest, notes: list[str]) -> Iterator[str]:
        parent, asked = manifest.parent, manifest.train_job.start_from
        if (parent is None) != (asked is None) or not (parent or "").startswith(asked or ""):
            told = [one or "the base model" for one in (asked, parent)]
            yield f"its training was to go on from {told[0]}, and its parent is {told[1]}"
        if parent is None:
            return
        try:
            before = self._registry.manifest(base, parent)
        except Missing:
            notes.append(f"its parent {parent} is there no more")
        except UNREADABLE as error:
            yield str(error)
        else:
            if before.created_at > manifest.created_at:
                yield f"its parent {parent} was made after it"

    def _report(self, base: str, version: str) -> Iterator[str]:
        try:
            judged = self._reports.find(base, version)
        except UNREADABLE as error:
            yield str(error)
            return
        if judged is not None and judged.adapter != version:
            yield f"the report beside it is about {judged.adapter or 'the base model'}"


def _named(pointer: Pointer) -> dict[str, str]:
    """Version -> what is to be said if it is not there; of several things the most urgent."""
    used = dict.fromkeys(stop.version for stop in pointer.history if stop.version)
    told = {version: f"{version} was in use, and is not there" for version in used}
    if pointer.canary:
        version = pointer.canary.version
        told[version] = f"{version} is on trial, and is not there"
    if pointer.version:
        told[pointer.version] = f"{pointer.version} is in use, and is not there"
    return told
