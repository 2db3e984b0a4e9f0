"""Whether a store is away, or one object of it is sick: those beside it are asked for.

Knows nothing of what becomes of a job or an event then.
"""

from collections.abc import Callable
from itertools import islice

from shared.bucket.storage import ObjectStore
from shared.errors import NoSuchBucket, Reject, StoreUnavailable
from shared.settings import Output

ASKED = 3
"""Objects beside the one that could not be read: one of them may be sick as well."""


def prove_reads(
    store: ObjectStore, bucket: str, key: str, on_step: Callable[[], object] = lambda: None
) -> None:
    """That something can be read in the folder of this key, or in its bucket. An answer that
    refuses is one; where there is nothing else, the listing is.

    Args:
        on_step: called before each request.

    Raises:
        StoreUnavailable, ConfigError: nothing can.
    """
    failed: StoreUnavailable | None = None
    try:
        for other in _beside(store, bucket, key, on_step):
            on_step()
            try:
                store.get_range(bucket, other, 0, 1)
            except StoreUnavailable as error:
                failed = error
            else:
                return
    except (Reject, NoSuchBucket):
        return  # it answers
    if failed is not None:
        raise failed


def _beside(store: ObjectStore, bucket: str, key: str, on_step: Callable[[], object]) -> list[str]:
    found: list[str] = []
    for folder in dict.fromkeys((key[: key.rfind("/") + 1], "")):
        on_step()
        page, _ = store.list_page(bucket, folder)
        found += islice((one.key for one in page if one.key != key), ASKED)
        if found:
            break
    return found


def prove_output(store: ObjectStore, output: Output) -> None:
    """That an object can be written there, and read. Raises JamakError: it cannot."""
    key = f"{output.prefix}probes/alive"
    store.put(output.bucket, key, b"jamak")
    store.get(output.bucket, key)
