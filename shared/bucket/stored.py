"""Values that Jamak keeps in the bucket: read, and told apart where they cannot be read.

A message that cannot be read is refused: whoever sent it wrote it like that. What is in the bucket
we wrote ourselves, so it is damaged, or a newer Jamak wrote it; and no job is to blame for either.
Knows nothing of what becomes of the job, or of the other objects.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from shared import __version__
from shared.bucket.storage import MOST_AT_ONCE, ObjectStore
from shared.errors import BadMessage, DamagedObject, NewerMessage, NewerObject, TooLarge
from shared.messages import Message, decode

T = TypeVar("T")
M = TypeVar("M", bound=Message)

UNREADABLE = (DamagedObject, NewerObject, TooLarge)
"""What concerns one object alone: whoever reads many goes on with the others, and says so."""


def read(store: ObjectStore, kind: type[M], bucket: str, key: str, **how: Any) -> M:
    """Arguments and errors are those of `fetch`."""
    return read_with_etag(store, kind, bucket, key, **how)[0]


def read_with_etag(
    store: ObjectStore, kind: type[M], bucket: str, key: str, **how: Any
) -> tuple[M, str]:
    """Arguments and errors are those of `fetch`."""
    return fetch(store, bucket, key, lambda body: decode(kind, body), **how)


def fetch(
    store: ObjectStore,
    bucket: str,
    key: str,
    parse: Callable[[bytes], T],
    *,
    most: int | None = None,
    cure: str | None = None,
) -> tuple[T, str]:
    """What lies there, with its ETag. What cannot be read is fetched once more: it may have been
    mangled on its way, and not every store sends what would show it.

    Args:
        parse: raises BadMessage, NewerMessage.
        most: bytes that it may have; if it has more, that is no damage but TooLarge.
        cure: of a damaged one, where there is a better one than that of all.

    Raises:
        Missing: nothing does. And what else ObjectStore raises.
        DamagedObject: it cannot be read. It names the object; its evidence has the ETag.
        NewerObject: a newer Jamak wrote it. It names its version, and ours.
    """
    where = f"s3://{bucket}/{key}"
    for last in (False, True):
        try:
            body, etag = store.get_with_etag(bucket, key, most or MOST_AT_ONCE)
        except TooLarge as error:
            if most is not None:
                raise
            raise DamagedObject(
                f"{where} is damaged: {error}", cure=cure or error.cure, **error.evidence
            ) from error
        try:
            return parse(body), etag
        except NewerMessage as error:
            raise _newer(where, body, error) from error
        except BadMessage as error:
            if last:
                raise DamagedObject(
                    f"{where} is damaged: {error}", cure=cure, etag=etag, size_bytes=len(body)
                ) from error
    raise AssertionError("the second time returns or raises")


def _newer(where: str, body: bytes, error: NewerMessage) -> NewerObject:
    told: Any = json.loads(body)
    by = f"Jamak {told['jamak']}" if isinstance(told.get("jamak"), str) else "a newer Jamak"
    return NewerObject(
        f"{where} was written by {by}, and this is Jamak {__version__}: {error}",
        version=told["v"],
    )
