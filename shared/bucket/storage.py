"""The object store, over boto3. Its errors become ours here; nobody else meets botocore.

Knows nothing of captions: buckets, keys and bytes only. boto3 is imported with the first client: a
command that says what is wrong with its arguments, or completes them, needs none.
"""

import io
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shared.errors import (
    ConfigError,
    Conflict,
    Forbidden,
    Missing,
    Overwritten,
    StoreUnavailable,
)
from shared.web.connections import CONNECTIONS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

TRIES = 5
TRIES_UNDER_LEASE = 2
"""Together they take less than a lease lasts: who waits longer looks as if it hung. What fails
twice goes back to its queue, and is tried again after a longer pause."""


def _client(service: Literal["s3", "sqs"], tries: int, read_timeout_s: float = 10) -> Any:
    """Raises ConfigError: a variable or a profile is wrong, or no region is set."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, NoRegionError

    # Without timeouts boto3 waits a minute for a dead endpoint, each time it tries.
    network = Config(
        connect_timeout=4,
        read_timeout=read_timeout_s,
        retries={"mode": "adaptive", "total_max_attempts": tries},
        max_pool_connections=CONNECTIONS,
    )
    try:
        return boto3.client(service, config=network)
    except NoRegionError as error:
        raise ConfigError(
            f"{service.upper()}: no AWS region", cure="Set AWS_DEFAULT_REGION."
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"{service.upper()}: {error}", cure="Check AWS_ENDPOINT_URL, AWS_PROFILE and the like."
        ) from error


_CHUNK_BYTES = 1 << 20
PAGE_KEYS = 1000
"""Of one page of a listing; S3 gives no more."""
CONFLICT_TRIES, CONFLICT_PAUSE_S = 4, 0.2
"""S3 answers 409 while another conditional write to the same key is under way."""


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
    """S3 or anything that speaks its API. Safe to share between threads."""

    def __init__(self, tries: int = TRIES) -> None:
        self._s3: S3Client = _client("s3", tries)

    def head(
        self, bucket: str, key: str, *, etag: str | None = None, version_id: str | None = None
    ) -> ObjectInfo:
        """What is there; with `etag`, that content or none.

        Raises:
            Missing, Forbidden, StoreUnavailable, as all reads do.
            Overwritten: the object's content is not the one asked for.
        """
        with _translated(bucket, key):
            found = self._s3.head_object(Bucket=bucket, Key=key, **_pin(etag, version_id))
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
        with _translated(bucket, key):
            found = self._s3.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **_pin(etag, version_id)
            )
            return found["Body"].read()

    def exists(self, bucket: str, key: str) -> bool:
        try:
            self.head(bucket, key)
        except Missing:
            return False
        return True

    def get(self, bucket: str, key: str) -> bytes:
        return self.get_with_etag(bucket, key)[0]

    def get_with_etag(self, bucket: str, key: str) -> tuple[bytes, str]:
        with _translated(bucket, key):
            found = self._s3.get_object(Bucket=bucket, Key=key)
            return found["Body"].read(), found["ETag"].strip('"')

    def download(self, bucket: str, key: str, path: Path) -> None:
        """Stream an object into a file."""
        with _translated(bucket, key), path.open("wb") as file:
            found = self._s3.get_object(Bucket=bucket, Key=key)
            for chunk in found["Body"].iter_chunks(_CHUNK_BYTES):
                file.write(chunk)

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
            Conflict: the condition did not hold; nothing was written.
        """
        condition: dict[str, Any] = {}
        if if_none_match:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = f'"{if_match}"'
        for left in reversed(range(CONFLICT_TRIES)):
            try:
                with _translated(bucket, key, writing=True):
                    done = self._s3.put_object(
                        Bucket=bucket,
                        Key=key,
                        Body=_Watched(body, on_chunk) if on_chunk else body,
                        ContentType=content_type,
                        **condition,
                    )
                return done["ETag"].strip('"')
            except _UnderWay:
                if not left:
                    raise
                time.sleep(CONFLICT_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
        raise AssertionError("the last try returns or raises")

    def upload(self, path: Path, bucket: str, key: str) -> None:
        """A file of any size, in parts where it is large."""
        with _translated(bucket, key, writing=True):
            from boto3.exceptions import S3UploadFailedError

            try:
                self._s3.upload_file(str(path), bucket, key)
            except S3UploadFailedError as error:
                # It hides the error of the request that failed.
                raise error.__context__ or error from None

    def delete(self, bucket: str, key: str) -> None:
        with _translated(bucket, key, writing=True):
            self._s3.delete_object(Bucket=bucket, Key=key)

    def list(self, bucket: str, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Every object under a prefix, in the order of their keys (by UTF-8 bytes).

        Args:
            after: only what comes after this key.
        """
        more = True
        while more:
            page, more = self.list_page(bucket, prefix, after)
            yield from page
            after = page[-1].key if page else after

    def list_page(
        self, bucket: str, prefix: str, after: str = ""
    ) -> tuple[Sequence[ObjectInfo], bool]:
        """At most PAGE_KEYS objects, and whether there are more."""
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        with _translated(bucket, prefix):
            page = self._s3.list_objects_v2(
                Bucket=bucket, Prefix=prefix, MaxKeys=PAGE_KEYS, **start
            )
        found = [
            ObjectInfo(
                bucket, item["Key"], item["ETag"].strip('"'), item["Size"], item["LastModified"]
            )
            for item in page.get("Contents", ())
        ]
        return found, page["IsTruncated"]

    def folders(self, bucket: str, prefix: str) -> Iterator[str]:
        """The names right under a prefix that have something under them."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter="/"
        )
        with _translated(bucket, prefix):
            for page in pages:
                for item in page.get("CommonPrefixes", ()):
                    yield item["Prefix"].removeprefix(prefix).rstrip("/")


def _pin(etag: str | None, version_id: str | None) -> dict[str, Any]:
    pinned: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
    if version_id is not None:
        pinned["VersionId"] = version_id
    return pinned


class _UnderWay(StoreUnavailable):
    """Another conditional write to this key: ask again, then it is decided."""


class _Watched(io.BytesIO):
    """Says when it is read."""

    def __init__(self, body: bytes, on_chunk: Callable[[], None]) -> None:
        super().__init__(body)
        self._on_chunk = on_chunk

    def read(self, size: int | None = -1) -> bytes:
        self._on_chunk()
        return super().read(size)


def prove_conditional_put(store: ObjectStore, bucket: str, prefix: str) -> None:
    """Write one small object twice under the prefix; the second write must be refused.

    "Nothing twice" rests on it, and some S3-compatible stores ignore the condition silently.

    Raises:
        ConfigError: the store does not honour `If-None-Match: *`, or the prefix is not writable.
    """
    key = f"{prefix}probes/conditional-put"
    try:
        for _ in range(2):
            try:
                store.put(bucket, key, b"jamak", if_none_match=True)
            except Conflict:
                return
    except (Missing, Forbidden) as error:
        raise ConfigError(
            f"the output s3://{bucket}/{prefix} cannot be written: {error}",
            cure="Create the bucket, grant s3:PutObject, or change JAMAK_OUTPUT.",
        ) from error
    raise ConfigError(
        f"the store behind s3://{bucket}/{prefix} ignores If-None-Match: captions could be "
        "written twice",
        cure="Use a store with conditional writes (S3 has them since 2024).",
    )


def sqs_client() -> "SQSClient":
    """Raises ConfigError: no region."""
    # A long poll of 20 s must fit the read timeout.
    client: SQSClient = _client("sqs", TRIES, read_timeout_s=30)
    return client


@contextmanager
def _translated(bucket: str, key: str, *, writing: bool = False) -> Iterator[None]:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        HTTPClientError,
        NoCredentialsError,
    )

    where = f"s3://{bucket}/{key}"
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        if status == 412 and writing:
            raise Conflict(f"{where}: {code}") from error
        if status == 412:
            raise Overwritten(f"{where} is no longer the version that was asked for") from error
        if status == 409 and code == "ConditionalRequestConflict":
            raise _UnderWay(f"{where}: {code}") from error
        if status == 404:
            raise Missing(f"{where} does not exist ({code})") from error
        if status == 403:
            raise Forbidden(f"{where}: access denied ({code})") from error
        if status == 429 or status >= 500 or code in ("SlowDown", "RequestTimeout"):
            raise StoreUnavailable(f"{where}: {code or status}") from error
        raise
    except NoCredentialsError as error:
        raise ConfigError(
            f"{where}: no AWS credentials",
            cure="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role.",
        ) from error
    except (ConnectionError, HTTPClientError) as error:
        raise StoreUnavailable(f"{where}: {error}") from error
    except BotoCoreError as error:
        # Streams end with errors of their own when the connection breaks in the middle.
        if type(error).__name__ in ("IncompleteReadError", "ResponseStreamingError"):
            raise StoreUnavailable(f"{where}: {error}") from error
        raise
