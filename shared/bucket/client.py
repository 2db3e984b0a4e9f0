"""A client of S3, over boto3. Its errors become ours here; nobody else meets botocore.

Knows nothing of what is asked for. boto3 is imported with the first client: a command that says
what is wrong with its arguments needs none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from shared.bucket.answers import OF_ANSWERS, is_foreign, meaning
from shared.bucket.dialect import may_be_of_checksums
from shared.bucket.refusals import code_of, date_of, of_client, status_of, unavailable
from shared.errors import ConfigError, JamakError, StoreUnavailable
from shared.web.connections import CONNECTIONS

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

TRIES = 5
TRIES_UNDER_LEASE = 2
"""Together they take less than a lease lasts: who waits longer looks as if it hung. What fails
twice goes back to its queue, and is tried again after a longer pause."""


def network(tries: int, read_timeout_s: float = 10, **more: Any) -> "Config":
    """How any client of boto3 connects, waits and tries again."""
    from botocore.config import Config

    from shared.bucket.pace import keep_pace

    keep_pace()
    # Without timeouts boto3 waits a minute for a dead endpoint, each time it tries.
    return Config(
        connect_timeout=4,
        read_timeout=read_timeout_s,
        retries={"mode": "adaptive", "total_max_attempts": tries},
        max_pool_connections=CONNECTIONS,
        **more,
    )


class UnderWay(StoreUnavailable):
    """Another conditional write to this key: ask again, then it is decided."""


class Client:
    """Safe to share between threads.

    Raises ConfigError, also from every request: the AWS settings or credentials are wrong.
    """

    def __init__(self, tries: int) -> None:
        import boto3

        with of_client("S3"):
            self.s3: S3Client = boto3.client("s3", config=network(tries))
        self._tries = tries
        self._known: set[str] = set()
        """Buckets that are there."""
        self.checksums_work = False

    @contextmanager
    def asking(self, bucket: str, key: str, *, writing: bool = False) -> Iterator["S3Client"]:
        """Raises JamakError: whatever comes of it, as `answers` reads it."""
        try:
            yield self.s3
            self._known.add(bucket)
        except Exception as error:
            if not isinstance(error, OF_ANSWERS) and not is_foreign(error):
                raise
            raise self._meaning(bucket, key, error, writing=writing) from error

    def write(self, bucket: str, key: str, write: Callable[["S3Client"], T]) -> T:
        """Raises as `asking`.

        UnderWay: somebody else writes there just now.
        """
        with self.asking(bucket, key, writing=True):
            return self._with_checksums(write)

    def _with_checksums(self, write: Callable[["S3Client"], T]) -> T:
        """As boto3 adds them; where the store has never taken a write like that, without."""
        try:
            done = write(self.s3)
        except ClientError as error:
            plain_already = self.checksums == "when_required"
            if self.checksums_work or plain_already or not may_be_of_checksums(error):
                raise
            import boto3

            only: dict[str, Any] = {
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
            plain: S3Client = boto3.client("s3", config=network(self._tries, **only))
            done = write(plain)
            self.s3 = plain
        self.checksums_work = True
        return done

    @property
    def checksums(self) -> str:
        """`when_supported` or `when_required`, as boto3 calls them."""
        config: Any = self.s3.meta.config
        return str(config.request_checksum_calculation)

    def _meaning(self, bucket: str, key: str, error: Exception, *, writing: bool) -> JamakError:
        where = f"s3://{bucket}/{key}"
        if isinstance(error, ClientError):
            if status_of(error) == 409 and code_of(error) == "ConditionalRequestConflict":
                return UnderWay(f"{where}: {code_of(error)}")
            error = self._in_words(bucket, key, error)
        found = meaning(where, bucket, error, writing=writing)
        if isinstance(error, ClientError) and not isinstance(found, ConfigError | StoreUnavailable):
            self._known.add(bucket)
        found.place = bucket, key
        return found

    def _in_words(self, bucket: str, key: str, error: ClientError) -> ClientError:
        """The answer to a HEAD has no text that says why: then it is asked for in another way, and
        whether there is such a bucket, once."""
        status = status_of(error)
        unclear = error.operation_name == "HeadObject" and code_of(error).isdigit()
        try:
            if unclear and status == 404 and bucket not in self._known:
                self.s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
            elif unclear and status in (301, 400, 403):
                self.s3.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except ClientError as second:
            return second
        except Exception as second:
            if not is_foreign(second):
                raise
        return error  # the first answer counts

    def keeps_versions(self, bucket: str) -> bool:
        """As far as it says so."""
        try:
            return bool(self.s3.get_bucket_versioning(Bucket=bucket).get("Status"))
        except Exception as error:
            if not is_foreign(error):
                raise
            return False

    def clock_ahead_s(self, bucket: str, now: Callable[[], float]) -> float | None:
        """How far this clock is ahead of the store's; None: its answer has no date.

        Raises StoreUnavailable, and nothing else: an answer that refuses has a date as well.
        """
        try:
            answer: Any = self.s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError as error:
            answer = error.response
        except Exception as error:
            if not is_foreign(error):
                raise
            raise unavailable(StoreUnavailable, f"s3://{bucket}/", error) from error
        date = date_of(answer)
        return None if date is None else now() - date
