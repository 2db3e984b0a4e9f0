"""The object store: what is asked of it, in buckets, keys and bytes. Knows nothing of captions."""

import io
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import FlexibleChecksumError

from shared.bucket import proofs
from shared.bucket.client import TRIES, Client, UnderWay
from shared.bucket.dialect import Dialect, WholeAnswer, pages
from shared.bucket.intact import Etags, Mangled
from shared.errors import Conflict, Missing, NoSuchBucket, TooLarge
from shared.settings import Output

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK_BYTES = 1 << 20
PARTIAL = 206
"""The status of an answer that is a part."""
PAGE_KEYS = 1000
"""Of one page of a listing; S3 gives no more."""
CONFLICT_TRIES, CONFLICT_PAUSE_S = 4, 0.2
"""S3 answers 409 while another conditional write to the same key is under way."""
MOST_AT_ONCE = 64 << 20
"""Of an object that is read as a whole. Nothing that Jamak keeps is so large, by far."""
COMPARED_BYTES = 1 << 20
"""What is larger is named by its content: a conflict means that it is there."""


@dataclass(frozen=True)
class ObjectInfo:
    bucket: str
    key: str
    etag: str
    """Without the quotes."""
    size_bytes: int
    last_modified: datetime
    version_id: str | None = None


class ObjectStore:
    """S3 or anything that speaks its API. Safe to share between threads.

    Raises ConfigError, also from every request: the AWS settings or credentials are wrong.
    """

    def __init__(self, tries: int = TRIES, outputs: Iterable[Output] = ()) -> None:
        """Args:
        outputs: there it is proven that the store can do what is relied on, before it is.
        """
        self.client = Client(tries)
        self._outputs = sorted(outputs, key=lambda one: -len(one.prefix))
        self._etags = Etags()
        self.dialect = Dialect()
        self._proven: set[tuple[Output, proofs.Proof]] = set()
        self._proving = threading.RLock()

    def prove(self, output: Output, *what: proofs.Proof) -> Sequence[proofs.Capability]:
        """Try all that we rely on, or only some of it; once each. What was found now.

        Raises:
            ConfigError: the store cannot do it in any way, or it may not be written there.
            StoreUnavailable: it does not answer.
        """
        told: list[proofs.Capability] = []
        for proof in what or proofs.ALL:
            with self._proving:
                if (output, proof) in self._proven:
                    continue
                found = proof(self, output)
                proofs.demand(output, found)
                self._proven.add((output, proof))
                told += found
        return told

    def _rely_on(self, proof: proofs.Proof, bucket: str, key: str) -> None:
        for output in self._outputs:
            if bucket == output.bucket and key.startswith(output.prefix):
                self.prove(output, proof)
                return

    def head(
        self, bucket: str, key: str, *, etag: str | None = None, version_id: str | None = None
    ) -> ObjectInfo:
        """What is there; with `etag`, that content or none.

        Raises:
            Missing, NoSuchBucket, Forbidden, StoreUnavailable, as all reads do.
            Overwritten: the object's content is not the one asked for.
        """
        with self.client.asking(bucket, key) as s3:
            found = s3.head_object(Bucket=bucket, Key=key, **_pin(etag, version_id))
            return ObjectInfo(
                bucket,
                key,
                found["ETag"].strip('"'),
                found["ContentLength"],
                found["LastModified"],
                found.get("VersionId"),
            )

    def get_range(
        self,
        bucket: str,
        key: str,
        start: int,
        end: int,
        *,
        etag: str | None = None,
        version_id: str | None = None,
    ) -> bytes:
        """The bytes from `start` to `end`, which is not included. Raises as `head`."""
        with self.client.asking(bucket, key) as s3:
            found = s3.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **_pin(etag, version_id)
            )
            status = found["ResponseMetadata"]["HTTPStatusCode"]
            if status != PARTIAL:
                found["Body"].close()
                raise WholeAnswer(f"s3://{bucket}/{key}: asked for a part, answered {status}")
            return found["Body"].read()

    def exists(self, bucket: str, key: str) -> bool:
        try:
            self.head(bucket, key)
        except Missing:
            return False
        return True

    def get(self, bucket: str, key: str, most: int = MOST_AT_ONCE) -> bytes:
        """Arguments and errors are those of `get_with_etag`."""
        return self.get_with_etag(bucket, key, most)[0]

    def get_with_etag(self, bucket: str, key: str, most: int = MOST_AT_ONCE) -> tuple[bytes, str]:
        """Args:
            most: bytes that it may have.

        Raises:
            TooLarge: it has more; none of it was read.
            DamagedObject: what came is not what lies there, twice.
        """
        try:
            return self._get_once(bucket, key, most)
        except Mangled as error:
            first = error
        try:
            return self._get_once(bucket, key, most)
        except Mangled as second:
            where = f"s3://{bucket}/{key}"
            return self._etags.settle(where, bucket, first, second), second.etag

    def _get_once(self, bucket: str, key: str, most: int) -> tuple[bytes, str]:
        """Raises Mangled."""
        with self.client.asking(bucket, key) as s3:
            found = s3.get_object(Bucket=bucket, Key=key)
            _check_size(bucket, key, found, most)
            etag = found["ETag"].strip('"')
            try:
                body = found["Body"].read()
            except FlexibleChecksumError as error:
                raise Mangled(None, etag) from error
        self._etags.check(bucket, body, found)
        return body, etag

    def download(
        self,
        bucket: str,
        key: str,
        path: Path,
        most: int | None = None,
        on_chunk: Callable[[], None] = lambda: None,
    ) -> None:
        """Stream an object into a file. Raises TooLarge: it has more than `most` bytes.

        Args:
            on_chunk: called after each piece that came.
        """
        with self.client.asking(bucket, key) as s3, path.open("wb") as file:
            found = s3.get_object(Bucket=bucket, Key=key)
            _check_size(bucket, key, found, most)
            for chunk in found["Body"].iter_chunks(_CHUNK_BYTES):
                file.write(chunk)
                on_chunk()

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_none_match: bool = False,
        if_match: str | None = None,
        on_chunk: Callable[[], None] | None = None,
    ) -> str:
        """Write, and return the new ETag.

        Args:
            on_chunk: called after each piece that was sent.
            if_none_match: only if nothing is there yet.
            if_match: only if what is there has this ETag.

        Raises:
            Conflict: the condition did not hold, and what is there is not what was to be written.
        """
        conditional = if_none_match or if_match is not None
        if conditional:
            self._rely_on(proofs.conditions, bucket, key)
        headers: dict[str, Any] = {"ContentType": content_type}
        if if_none_match:
            headers["IfNoneMatch"] = "*"
        if if_match is not None:
            headers["IfMatch"] = self.dialect.if_match(if_match)
        try:
            return self.put_raw(bucket, key, body, on_chunk, **headers)
        except Missing as error:
            if if_match is None:
                raise
            raise Conflict(f"s3://{bucket}/{key} is not there any more") from error
        except Conflict:
            # An answer gets lost, the write is sent again, and meets itself.
            etag = self._holding(bucket, key, body)
            if etag is None:
                raise
            return etag

    def put_raw(
        self,
        bucket: str,
        key: str,
        body: bytes,
        on_chunk: Callable[[], None] | None = None,
        **headers: Any,
    ) -> str:
        """As `put`, with the headers as they are given, and without a look at what is there."""

        def put(s3: "S3Client") -> str:
            content = _Watched(body, on_chunk) if on_chunk else body
            return s3.put_object(Bucket=bucket, Key=key, Body=content, **headers)["ETag"].strip('"')

        for left in reversed(range(CONFLICT_TRIES)):
            try:
                return self.client.write(bucket, key, put)
            except UnderWay:
                if not left:
                    raise
                time.sleep(CONFLICT_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
        raise AssertionError("the last try returns or raises")

    def _holding(self, bucket: str, key: str, body: bytes) -> str | None:
        """Its ETag, if this is what is there."""
        if len(body) > COMPARED_BYTES:
            return None
        try:
            found, etag = self.get_with_etag(bucket, key, len(body))
        except (Missing, TooLarge):
            return None
        return etag if found == body else None

    def upload(self, path: Path, bucket: str, key: str) -> None:
        """A file of any size, in parts where it is large."""
        from boto3.exceptions import S3UploadFailedError

        def upload(s3: "S3Client") -> None:
            try:
                s3.upload_file(str(path), bucket, key)
            except S3UploadFailedError as error:
                # It hides the error of the request that failed.
                raise error.__context__ or error from None

        self.client.write(bucket, key, upload)

    def delete(self, bucket: str, key: str) -> None:
        with self.client.asking(bucket, key, writing=True) as s3:
            s3.delete_object(Bucket=bucket, Key=key)

    def list(self, bucket: str, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Every object under a prefix, in an order that the store keeps: that of the keys' UTF-8
        bytes, or one of its own.

        Args:
            after: only what comes after this key. Where that cannot be told, everything.
        """
        if after and not self.lists_in_order(bucket, prefix):
            yield from self._behind(bucket, prefix, after)
            return
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        for page in self._pages(bucket, prefix, **start):
            yield from _listed(bucket, page)

    def _behind(self, bucket: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
        skipping = self.exists(bucket, after)
        for info in self.list(bucket, prefix):
            if not skipping:
                yield info
            elif info.key == after:
                skipping = False

    def list_page(
        self, bucket: str, prefix: str, after: str = ""
    ) -> tuple[Sequence[ObjectInfo], bool]:
        """At most PAGE_KEYS objects, and whether there are more. None only where nothing is."""
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        pages = self._pages(bucket, prefix, **start)
        page = next(one for one in pages if one.get("Contents") or not one["IsTruncated"])
        return _listed(bucket, page), page["IsTruncated"]

    def lists_in_order(self, bucket: str, prefix: str) -> bool:
        """Whether a page of a listing can begin anywhere, and then misses nothing.

        Args:
            prefix: what is to be listed. Where it is in no output, the store is as it is in one.
        """
        for output in self._outputs:
            if bucket == output.bucket and prefix.startswith(output.prefix):
                break
        else:
            if not self._outputs:
                return self.dialect.ordered
            output = self._outputs[-1]
        self.prove(output, proofs.order)
        return self.dialect.ordered

    def folders(self, bucket: str, prefix: str) -> Iterator[str]:
        """The names right under a prefix that have something under them."""
        for page in self._pages(bucket, prefix, Delimiter="/"):
            for item in page.get("CommonPrefixes", ()):
                yield item["Prefix"].removeprefix(prefix).rstrip("/")

    def _pages(self, bucket: str, prefix: str, **how: Any) -> Iterator[Any]:
        def ask(more: dict[str, Any]) -> Any:
            with self.client.asking(bucket, prefix) as s3:
                page = s3.list_objects_v2(
                    Bucket=bucket, Prefix=prefix, MaxKeys=PAGE_KEYS, **how, **more
                )
                page["IsTruncated"]  # an answer without it is none of S3
                return page

        return pages(f"s3://{bucket}/{prefix}", ask)


def _check_size(bucket: str, key: str, found: Any, most: int | None) -> None:
    size = found["ContentLength"]
    if most is not None and size > most:
        found["Body"].close()
        raise TooLarge(
            f"s3://{bucket}/{key} has {size} bytes; it may have {most}",
            cure="Look at who may write there: it is not what Jamak writes.",
            etag=found["ETag"].strip('"'),
            size_bytes=size,
        )


def _pin(etag: str | None, version_id: str | None) -> dict[str, Any]:
    pinned: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
    if version_id is not None:
        pinned["VersionId"] = version_id
    return pinned


def _listed(bucket: str, page: Any) -> Sequence[ObjectInfo]:
    return [
        ObjectInfo(bucket, item["Key"], item["ETag"].strip('"'), item["Size"], item["LastModified"])
        for item in page.get("Contents", ())
    ]


class _Watched(io.BytesIO):
    """Says when it is read."""

    def __init__(self, body: bytes, on_chunk: Callable[[], None]) -> None:
        super().__init__(body)
        self._on_chunk = on_chunk

    def read(self, size: int | None = -1) -> bytes:
        self._on_chunk()
        return super().read(size)


@contextmanager
def naming(variable: str) -> Iterator[None]:
    """Around what asks for a bucket of the settings. Raises NoSuchBucket: with the variable."""
    try:
        yield
    except NoSuchBucket as error:
        raise error.named(variable) from error
