"""Videos by what people call them: s3://bucket/key, https://host/video.mp4, or a file's path."""

from pathlib import Path

from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import UsageError
from shared.settings import Settings
from shared.web.addresses import Addresses
from workers.jobs.fetch import Places
from workers.video.source import Source, file_source


def source_at(address: str, settings: Settings) -> Source:
    """Raises UsageError, Missing, EmptyFile, Forbidden, NoRanges, StoreUnavailable."""
    if "://" not in address:
        return file_source(Path(address))
    places = Places(ObjectStore(), Addresses(settings.addresses))
    if not address.startswith("s3://"):
        return places.address_source(address, places.addresses.head(address))
    bucket, key = parse_uri(address)
    if not key:
        raise UsageError(f"{address} is a bucket", cure="Name one video: s3://bucket/key.")
    return places.object_source(places.store.head(bucket, key))
