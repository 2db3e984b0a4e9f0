"""Media of a training set: where they lie, and whether they are what their rows mean."""

import hashlib
from pathlib import Path

from shared.errors import BadData
from shared.rows import Row

DOWNLOADS = 16
"""Videos fetched at once: they are small, so the time goes into waiting."""


def absolute(manifest_uri: str, uri: str) -> str:
    """A relative name is relative to the manifest, so that a training set can be moved."""
    if uri.startswith("s3://"):
        return uri
    if "://" in uri or uri.startswith("/"):
        raise BadData(
            f"{uri!r} is no address of a video in S3",
            cure="Write s3://bucket/key, or a path relative to the manifest.",
        )
    return f"{manifest_uri.rpartition('/')[0]}/{uri}"


def check_content(row: Row, path: Path) -> None:
    """Raises BadData: the digest of the row is another one."""
    if row.media.sha256 is None:
        return
    found = digest_of(path)
    if found != row.media.sha256:
        raise BadData(
            f"row {row.id!r}: {row.media.uri} is not the video that the manifest means",
            cure="Write the new SHA-256 into the manifest, or bring the old video back.",
            expected=row.media.sha256,
            found=found,
        )


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
