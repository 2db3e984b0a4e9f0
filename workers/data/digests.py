"""What the files of a manifest hold: their SHA-256, for its rows."""

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.bucket.keys import parse_uri
from shared.bucket.places import in_s3
from shared.bucket.storage import ObjectStore
from shared.errors import Missing, Reject
from shared.settings import Settings
from workers.train.downloads import DOWNLOADS, absolute, digest_of


def digests(
    uris: Iterable[str], manifest: str, store: ObjectStore, settings: Settings
) -> Iterator[tuple[str, str | Reject]]:
    """URI -> digest, or why there is none; in the order of the URIs.

    Args:
        manifest: its address: what relative URIs are relative to.
    """

    def digest(uri: str) -> tuple[str, str | Reject]:
        address = absolute(manifest if in_s3(manifest) else str(Path(manifest).absolute()), uri)
        try:
            if not in_s3(address):
                return uri, digest_of(_here(Path(address)))
            with tempfile.NamedTemporaryFile(dir=settings.scratch_dir) as file:
                path = Path(file.name)
                store.download(*parse_uri(address), path, settings.max_video_bytes, lambda: None)
                return uri, digest_of(path)
        except Reject as error:
            return uri, error

    with ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="digest") as pool:
        yield from pool.map(digest, uris)


def _here(path: Path) -> Path:
    if not path.is_file():
        raise Missing(f"{path}: there is no such file")
    return path
