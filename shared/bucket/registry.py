"""Adapters in S3. A version is immutable and named by its content; a pointer says which is used.

    <prefix>adapters/<base>/<version>/adapter_model.safetensors  adapter_config.json  manifest.json
    <prefix>adapters/<base>/active.json                          the pointer

`<base>` is the start of the base model's weights digest: an adapter fits the weights that it was
trained on and no others. Writing the manifest completes a version; moving the pointer comes last.

Where a pointer may move, and what it remembers, is in shared/bucket/moves.py.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from shared.bucket import moves
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE, read, read_with_etag
from shared.bucket.swaps import swaps
from shared.errors import (
    BadAdapter,
    Conflict,
    JamakError,
    Missing,
    Reject,
    StoreUnavailable,
    TooLarge,
    UsageError,
)
from shared.messages import digest
from shared.training import AdapterManifest, By, Canary, Pointer, Stop

ADAPTER_FILES = frozenset({"adapter_model.safetensors", "adapter_config.json"})
"""Nothing else is published or loaded: the other files of a training run are pickles."""
MOST_BYTES = {"adapter_model.safetensors": 4 << 30, "adapter_config.json": 64 << 10}
"""Of a 7B model at rank 16 and in fp32 it is a quarter of a GiB."""
MOST_MANIFEST_BYTES = 1 << 20
"""Of a manifest or a pointer."""
LOST = (
    "Bring an earlier version of this object back. If there is none, delete it and activate what "
    "is to be in use at once: in between all workers use the base model, and its history is gone."
)
"""Cure of a damaged pointer."""
VERSION = re.compile(r"[0-9a-f]{12}")


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
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Write a version: the files first, the manifest last. Publishing it again is harmless.

        Args:
            on_chunk: called after each piece that was sent.
            check: asked before the manifest, which makes it a version; raises if it is not to be.

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
            _compare(manifest.version, name, hashlib.sha256(body).hexdigest(), expected)
            self._put_once(folder + name, body, on_chunk)
        check()
        self._put_once(folder + "manifest.json", manifest.model_dump_json(indent=2).encode())

    def download(
        self,
        base_sha256: str,
        version: str,
        directory: Path,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> AdapterManifest:
        """Fetch a version's files into a directory, each verified.

        Args:
            on_chunk: called after each piece that came.

        Raises:
            Missing: there is no such version for this base.
            BadAdapter: a file is not what the manifest says, or the manifest not this version's.
        """
        if not VERSION.fullmatch(version):
            raise BadAdapter(f"{version!r} cannot be the name of an adapter's version")
        manifest = self.manifest(base_sha256, version)
        self.check(manifest, base_sha256, version)
        for name in manifest.files:
            self.fetch(manifest, name, directory, on_chunk)
        return manifest

    def check(self, manifest: AdapterManifest, base_sha256: str, version: str) -> None:
        """Raises BadAdapter: this is not the manifest of such a version of this base."""
        if set(manifest.files) != ADAPTER_FILES:
            raise BadAdapter(f"adapter {version} lists other files than {sorted(ADAPTER_FILES)}")
        if manifest.base.weights_sha256 != base_sha256:
            raise BadAdapter(
                f"adapter {version} was trained on other weights",
                base=manifest.base.weights_sha256,
                wanted=base_sha256,
            )
        if manifest.version != version or version_of(manifest.files, base_sha256) != version:
            raise BadAdapter(f"the manifest of {version} describes other content")

    def fetch(
        self,
        manifest: AdapterManifest,
        name: str,
        directory: Path,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> Path:
        """One file of a version into a directory, verified.

        Raises:
            Missing: it is not there.
            BadAdapter: it is not what the manifest says.
        """
        version, base_sha256 = manifest.version, manifest.base.weights_sha256
        directory.mkdir(parents=True, exist_ok=True)
        key, path = self._folder(base_sha256, version) + name, directory / name
        try:
            self._store.download(self._bucket, key, path, MOST_BYTES[name], on_chunk)
        except TooLarge as error:
            raise BadAdapter(f"adapter {version} cannot be read: {error}") from error
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        _compare(version, name, found, manifest.files[name])
        return path

    def manifest(self, base_sha256: str, version: str) -> AdapterManifest:
        return self._read_manifest(self._folder(base_sha256, version) + "manifest.json")

    def _read_manifest(self, key: str) -> AdapterManifest:
        return read(self._store, AdapterManifest, self._bucket, key, most=MOST_MANIFEST_BYTES)

    def manifests(
        self, unread: Callable[[JamakError], None] = lambda error: None, beginning: str = ""
    ) -> Iterator[AdapterManifest]:
        """Every version of every base; or only those whose name begins so.

        Args:
            unread: told why one cannot be read, which does not keep the others.
        """
        for item in self._store.list(self._bucket, self._root):
            version, _, name = item.key.removeprefix(self._root).partition("/")[2].partition("/")
            if name == "manifest.json" and version.startswith(beginning):
                try:
                    yield self._read_manifest(item.key)
                except UNREADABLE as error:
                    unread(error)

    def find(self, version: str) -> AdapterManifest:
        """A version by its name, or the start of it, whatever its base.

        Raises:
            UsageError: none or several match.
            DamagedObject, NewerObject: one does, and cannot be read.
        """
        unread: list[JamakError] = []
        found = list(self.manifests(unread.append, beginning=version))
        if unread:
            raise unread[0]
        if len(found) != 1 or not version:  # an empty name is a slip, and no choice
            raise UsageError(
                f"{len(found)} adapter versions begin with {version!r}",
                cure="`jamak adapters list` shows them.",
            )
        return found[0]

    def bases(self) -> list[str]:
        """Digests of the base models that have versions that can be read."""
        return sorted({item.base.weights_sha256 for item in self.manifests()})

    def base_names(self) -> list[str]:
        """Of all base models, by `base_name`, which stands for the digest of one."""
        return sorted(self._store.folders(self._bucket, self._root))

    def pointer(self, base_sha256: str) -> Pointer:
        """Generation 0 with no version, before anything was ever activated."""
        return self._read_pointer(base_sha256)[0]

    def pointers(
        self, unread: Callable[[JamakError], None] = lambda error: None
    ) -> dict[str, Pointer]:
        """Of all base models, by `base_name`; without those that cannot be read.

        Args:
            unread: told why one cannot be read.
        """
        found = {}
        for base in self.base_names():
            try:
                found[base] = self.pointer(base)
            except UNREADABLE as error:
                unread(error)
        return found

    def activate(self, base_sha256: str, version: str, over: Pointer | None = None) -> Pointer:
        """Make a published version the one in use. A canary's trial ends with it.

        Args:
            over: only while the pointer is this one; None = whatever it is.

        Raises:
            Missing: it is not published for this base.
            Conflict: the pointer is not `over` any more.
        """
        self.manifest(base_sha256, version)
        return self._swap(base_sha256, lambda now: moves.activate(now, version), over)

    def begin_canary(
        self,
        base_sha256: str,
        version: str,
        share: float,
        *,
        paired: bool,
        by: By,
        why: str = "",
        over: Pointer | None = None,
    ) -> Pointer:
        """Put a published version on trial beside the one in use. The same one with another share
        is another trial.

        Args:
            share: of the jobs whose captions are to be by it, at most a half.
            paired: in part both are to caption the same video.
            why, by: kept in the history, as of what follows.
            over: only while the pointer is this one; None = whatever it is.

        Raises:
            Missing: it is not published for this base.
            Reject: it is in use, or another one is on trial.
            Conflict: the pointer is not `over` any more.
        """
        self.manifest(base_sha256, version)
        canary = Canary(version=version, share=share, paired=paired, since=datetime.now(UTC))
        return self._swap(base_sha256, lambda now: moves.begin(now, canary, by, why), over)

    def promote_canary(
        self, base_sha256: str, *, by: By, why: str = "", trial: int | None = None
    ) -> Pointer:
        """Make the version on trial the one in use.

        Args:
            trial: only this one, by the generation that it began with; None = whichever is under
                way.

        Raises:
            Reject: none is.
            Conflict: `trial` is over.
        """
        return self._end_canary(base_sha256, trial, lambda now: moves.promote(now, by, why))

    def end_canary(
        self, base_sha256: str, *, by: By, why: str = "", trial: int | None = None
    ) -> Pointer:
        """What is in use captions everything again. Arguments and errors as of `promote_canary`."""
        return self._end_canary(base_sha256, trial, lambda now: moves.end(now, by, why))

    def _end_canary(
        self, base_sha256: str, trial: int | None, move: Callable[[Pointer], moves.Move]
    ) -> Pointer:
        meant = trial

        def only_this(now: Pointer) -> moves.Move:
            nonlocal meant
            if meant is None:
                meant = now.generation  # and no other one that begins meanwhile
            elif now.generation != meant:
                raise Conflict(
                    f"the trial no. {meant} is over; nothing was done",
                    cure="`jamak adapters list` shows how it ended.",
                )
            return move(now)

        return self._swap(base_sha256, only_this)

    def rollback(
        self, base_sha256: str, leaving: str | None = None, *, by: By = "operator", why: str = ""
    ) -> Pointer:
        """Back to what was in use before, and never to what was left by a rollback since. While a
        canary is on trial, that is ended instead; unless what is in use is named, and left.

        One step, from what is in use at the call: two who roll back at once go one step together.

        Args:
            leaving: the version to leave, or the start of it; None = the canary, or what is in use.
            by, why: kept with the end of a canary.

        Raises:
            Reject: nothing was in use before, or something else than `leaving` is in use.
            Conflict: somebody else moved the pointer at the same time.
        """
        now, etag = self._read_history(base_sha256)
        if now.canary is not None and now.canary.version.startswith(leaving or ""):
            return self.end_canary(base_sha256, by=by, why=why, trial=now.generation)
        if leaving and not (now.version or "").startswith(leaving):
            raise Reject(
                f"not {leaving} but {now.version or 'the base model'} is in use; nothing was done",
                cure="Look at `jamak adapters list`: somebody may have rolled back already.",
            )
        move = moves.roll_back(now)
        try:
            return self._write_move(base_sha256, now, etag, move)
        except Conflict as error:
            moved = self.pointer(base_sha256)
            raise Conflict(
                f"somebody else moved the pointer at the same time: now "
                f"{moved.version or 'the base model'} is in use, by the move no. "
                f"{moved.generation}; nothing was done here",
                cure="Look at `jamak adapters list`; roll back again if that is not what you want.",
            ) from error

    def _swap(
        self,
        base_sha256: str,
        move: Callable[[Pointer], moves.Move],
        over: Pointer | None = None,
    ) -> Pointer:
        """From wherever it is now; who moved it meanwhile is gone on from. Raises what `move` does,
        and Conflict as `activate`."""
        for _ in swaps(f"s3://{self._bucket}/{self._pointer_key(base_sha256)}"):
            now, etag = self._read_history(base_sha256)
            if over is not None and moves.place(now) != moves.place(over):
                raise Conflict(
                    f"what is in use has changed: {now.version or 'the base model'}, and no longer "
                    f"{over.version or 'the base model'}; nothing was done"
                )
            made = move(now)
            with suppress(Conflict):
                return self._write_move(base_sha256, now, etag, made)
        raise AssertionError("the last swap returns or raises")

    def _write_move(
        self, base_sha256: str, now: Pointer, etag: str | None, move: moves.Move
    ) -> Pointer:
        """Raises Conflict: the pointer is no longer where it was, and this move was not made."""
        at = datetime.now(UTC)
        stop = move.stop(now.generation + 1, at)
        moved = Pointer(
            generation=stop.generation,
            version=stop.version,
            updated_at=at,
            history=(*now.history, stop)[-moves.HISTORY :],
            canary=move.begins,
        ).as_written()
        try:
            self._store.put(
                self._bucket,
                self._pointer_key(base_sha256),
                moved.to_json(),
                content_type="application/json",
                if_none_match=etag is None,
                if_match=etag,
            )
        except (Conflict, StoreUnavailable) as error:
            # An answer gets lost, and the move was made all the same. Whoever moved on from there
            # since must not be undone by a second one.
            try:
                after = self.pointer(base_sha256)
            except StoreUnavailable as gone:
                raise StoreUnavailable(
                    f"nobody can tell whether this move was made, no. {stop.generation} of "
                    f"s3://{self._bucket}/{self._pointer_key(base_sha256)}: {gone}",
                    cure="Look at `jamak adapters list` first, once the store answers: who rolls "
                    "back a second time may go two steps.",
                ) from error
            if stop not in after.history:
                raise
        return moved

    def _read_history(self, base_sha256: str) -> tuple[Pointer, str | None]:
        """The pointer, with a history also where version 1 wrote it."""
        now, etag = self._read_pointer(base_sha256)
        if now.generation == 0 or now.history:
            return now, etag
        before: list[Stop] = []
        if now.previous is not None and self._is_older(base_sha256, now.previous, now.version):
            before.append(
                Stop(
                    generation=now.generation - 1,
                    version=now.previous,
                    at=now.updated_at,
                    how="activated",
                    before=0,
                )
            )
        last = Stop(
            generation=now.generation,
            version=now.version,
            at=now.updated_at,
            how="activated",
            # Only a rollback led to the base model.
            before=None if now.version is None else before[0].generation if before else 0,
        )
        return now.model_copy(update={"history": (*before, last)}), etag

    def _is_older(self, base_sha256: str, previous: str, version: str | None) -> bool:
        """Version 1 did not tell what was in use before from what was left by a rollback; but what
        was left is the newer one."""
        if version is None:
            return False
        try:
            made = [self.manifest(base_sha256, name).created_at for name in (previous, version)]
        except Missing:
            return False
        return made[0] <= made[1]

    def _read_pointer(self, base_sha256: str) -> tuple[Pointer, str | None]:
        key = self._pointer_key(base_sha256)
        try:
            return read_with_etag(
                self._store, Pointer, self._bucket, key, most=MOST_MANIFEST_BYTES, cure=LOST
            )
        except Missing:
            return never_moved(), None

    def _put_once(self, key: str, body: bytes, on_chunk: Callable[[], None] | None = None) -> None:
        # A conflict means the same content under the same name: a run was repeated.
        with suppress(Conflict):
            self._store.put(self._bucket, key, body, if_none_match=True, on_chunk=on_chunk)

    def _folder(self, base_sha256: str, version: str) -> str:
        return f"{self._root}{base_name(base_sha256)}/{version}/"

    def _pointer_key(self, base_sha256: str) -> str:
        return f"{self._root}{base_name(base_sha256)}/active.json"


def base_name(base_sha256: str) -> str:
    """Of its folder."""
    return base_sha256[:12]


def never_moved() -> Pointer:
    """Before anything was ever activated."""
    return Pointer(generation=0, version=None, updated_at=datetime.fromtimestamp(0, UTC))


def _compare(version: str, name: str, found: str, expected: str) -> None:
    if found != expected:
        raise BadAdapter(
            f"{name} of adapter {version} is not the file that was published",
            expected=expected,
            found=found,
        )
