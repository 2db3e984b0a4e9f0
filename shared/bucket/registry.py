"""Adapters in S3. A version is immutable and named by its content; a pointer says which is used.

    <prefix>adapters/<base>/<version>/adapter_model.safetensors  adapter_config.json  manifest.json
    <prefix>adapters/<base>/active.json                          the pointer

`<base>` is the start of the base model's weights digest: an adapter fits the weights that it was
trained on and no others. Writing the manifest completes a version; moving the pointer comes last.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from shared.bucket.storage import ObjectStore
from shared.errors import BadAdapter, ConfigError, Conflict, Missing, UsageError
from shared.messages import AdapterManifest, Pointer, decode, digest

ADAPTER_FILES = frozenset({"adapter_model.safetensors", "adapter_config.json"})
"""Nothing else is published or loaded: the other files of a training run are pickles."""


def version_of(files: Mapping[str, str], base_sha256: str) -> str:
    """The version's name: a hash of its files' digests and its base's."""
    return digest({"files": dict(files), "base": base_sha256})[:12]


class Registry:
    """`bucket` and `prefix` are those of the output."""

    def __init__(self, store: ObjectStore, bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._root = store, bucket, f"{prefix}adapters/"

    def publish(
        self,
        manifest: AdapterManifest,
        directory: Path,
        on_chunk: Callable[[], None] | None = None,
    ) -> None:
        """Write a version: the files first, the manifest last. Publishing it again is harmless.

        Args:
            on_chunk: called after each piece that was sent.

        Raises:
            BadAdapter: a file is not allowed, missing, or not the one the manifest names.
        """
        if set(manifest.files) != ADAPTER_FILES:
            raise BadAdapter(f"an adapter has exactly {sorted(ADAPTER_FILES)}")
        if manifest.version != version_of(manifest.files, manifest.base.weights_sha256):
            raise BadAdapter(f"{manifest.version} is not the hash of its content")
        folder = self._folder(manifest.base.weights_sha256, manifest.version)
        for name, expected in manifest.files.items():
            body = (directory / name).read_bytes()
            _check_digest(manifest.version, name, body, expected)
            self._put_once(folder + name, body, on_chunk)
        self._put_once(folder + "manifest.json", manifest.model_dump_json(indent=2).encode())

    def download(self, base_sha256: str, version: str, directory: Path) -> AdapterManifest:
        """Fetch a version's files into a directory, each verified.

        Raises:
            Missing: there is no such version for this base.
            BadAdapter: a file is not what the manifest says, or the manifest not this version's.
        """
        manifest = self.manifest(base_sha256, version)
        if set(manifest.files) != ADAPTER_FILES:
            raise BadAdapter(f"adapter {version} lists other files than {sorted(ADAPTER_FILES)}")
        if manifest.base.weights_sha256 != base_sha256:
            raise BadAdapter(
                f"adapter {version} was trained on other weights",
                base=manifest.base.weights_sha256,
                wanted=base_sha256,
            )
        if version_of(manifest.files, base_sha256) != version:
            raise BadAdapter(f"the manifest of {version} describes other content")
        directory.mkdir(parents=True, exist_ok=True)
        for name, expected in manifest.files.items():
            body = self._store.get(self._bucket, self._folder(base_sha256, version) + name)
            _check_digest(version, name, body, expected)
            (directory / name).write_bytes(body)
        return manifest

    def manifest(self, base_sha256: str, version: str) -> AdapterManifest:
        key = self._folder(base_sha256, version) + "manifest.json"
        return decode(AdapterManifest, self._store.get(self._bucket, key))

    def manifests(self) -> Iterator[AdapterManifest]:
        """Every version of every base."""
        for item in self._store.list(self._bucket, self._root):
            if item.key.endswith("/manifest.json"):
                yield decode(AdapterManifest, self._store.get(self._bucket, item.key))

    def find(self, version: str) -> AdapterManifest:
        """A version by its name, or the start of it, whatever its base.

        Raises:
            UsageError: none or several match.
        """
        found = [item for item in self.manifests() if item.version.startswith(version)]
        if len(found) != 1:
            raise UsageError(
                f"{len(found)} adapter versions begin with {version!r}",
                cure="`jamak adapters list` shows them.",
            )
        return found[0]

    def bases(self) -> list[str]:
        """Digests of the base models that have versions."""
        return sorted({item.base.weights_sha256 for item in self.manifests()})

    def pointer(self, base_sha256: str) -> Pointer:
        """Generation 0 with no version, before anything was ever activated."""
        return self._read_pointer(base_sha256)[0]

    def activate(self, base_sha256: str, version: str) -> Pointer:
        """Make a published version the one in use.

        Raises:
            Missing: it is not published for this base.
        """
        self.manifest(base_sha256, version)

        def to_version(now: Pointer) -> tuple[str | None, str | None]:
            return version, now.previous if now.version == version else now.version

        return self._move(base_sha256, to_version)

    def rollback(self, base_sha256: str) -> Pointer:
        """Back to what was in use before; a second rollback undoes the first.

        Raises:
            ConfigError: nothing was ever activated.
        """
        if self.pointer(base_sha256).generation == 0:
            raise ConfigError("nothing was ever activated", cure="`jamak adapters list`")
        return self._move(base_sha256, lambda now: (now.previous, now.version))

    def _move(
        self, base_sha256: str, change: Callable[[Pointer], tuple[str | None, str | None]]
    ) -> Pointer:
        while True:
            now, etag = self._read_pointer(base_sha256)
            version, previous = change(now)
            moved = Pointer(
                generation=now.generation + 1,
                version=version,
                previous=previous,
                updated_at=datetime.now(UTC),
            )
            try:
                self._store.put(
                    self._bucket,
                    self._pointer_key(base_sha256),
                    moved.model_dump_json(indent=2).encode(),
                    content_type="application/json",
                    if_none_match=etag is None,
                    if_match=etag,
                )
            except Conflict:
                continue  # somebody else moved it: decide again from where it is now
            return moved

    def _read_pointer(self, base_sha256: str) -> tuple[Pointer, str | None]:
        try:
            body, etag = self._store.get_with_etag(self._bucket, self._pointer_key(base_sha256))
        except Missing:
            never = datetime.fromtimestamp(0, UTC)
            return Pointer(generation=0, version=None, previous=None, updated_at=never), None
        return decode(Pointer, body), etag

    def _put_once(self, key: str, body: bytes, on_chunk: Callable[[], None] | None = None) -> None:
        # A conflict means the same content under the same name: a run was repeated.
        with suppress(Conflict):
            self._store.put(self._bucket, key, body, if_none_match=True, on_chunk=on_chunk)

    def _folder(self, base_sha256: str, version: str) -> str:
        return f"{self._root}{base_sha256[:12]}/{version}/"

    def _pointer_key(self, base_sha256: str) -> str:
        return f"{self._root}{base_sha256[:12]}/active.json"


def _check_digest(version: str, name: str, body: bytes, expected: str) -> None:
    found = hashlib.sha256(body).hexdigest()
    if found != expected:
        raise BadAdapter(
            f"{name} of adapter {version} is not the file that was published",
            expected=expected,
            found=found,
        )
