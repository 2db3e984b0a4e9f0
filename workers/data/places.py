"""Where a manifest is written."""

from shared.bucket import places
from shared.bucket.storage import ObjectStore
from shared.errors import BadData
from workers.train.manifest import MOST_BYTES


def write(address: str, body: bytes, store: ObjectStore) -> None:
    """A manifest.

    Raises:
        BadData: no training reads one that is so large.
    """
    if len(body) > MOST_BYTES:
        raise BadData(
            f"the manifest would have {len(body)} bytes; it may have {MOST_BYTES}",
            cure="Make it of a part of the data at a time, or write Parquet.",
        )
    places.write(address, body, store)
