"""Where the media of a manifest are: in S3, or in files beside it."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.bucket.keys import parse_uri
from shared.errors import EmptyFile, Missing, TooLarge
from shared.settings import Settings
from workers.jobs.fetch import Places
from workers.train.downloads import absolute
from workers.video.source import Source, file_source

UNICODE_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
"""Of a name: macOS writes the second, most other programs the first."""


@dataclass(frozen=True)
class Found:
    source: Source
    etag: str | None = None
    """Of an object in S3."""


class Folder:
    """Args:
    manifest: its address, s3:// or a file here.
    """

    def __init__(self, manifest: str, places: Places, settings: Settings) -> None:
        self._manifest, self._places = manifest, places
        self._most = settings.max_video_bytes

    def find(self, uri: str) -> Found:
        """What a URI of the manifest means.

        Raises:
            BadData: a training could not read it from there.
            Missing, Forbidden, EmptyFile, TooLarge.
        """
        address = absolute(self._manifest, uri)
        try:
            found = self._at(address)
        except Missing as error:
            for form in UNICODE_FORMS:
                if (other := unicodedata.normalize(form, address)) != address and self._is(other):
                    raise Missing(
                        f"{address}: there is none, but there is one whose name has the same "
                        f"letters in another form ({form})",
                        cure="Write the name into the manifest as it is there, or rename the file.",
                    ) from error
            raise
        size = found.source.size_bytes
        if size == 0:
            raise EmptyFile(f"{found.source.name} has 0 bytes", size_bytes=0)
        if size > self._most:
            raise TooLarge(
                f"{found.source.name} has {size} bytes; it may have {self._most}", size_bytes=size
            )
        return found

    def _at(self, address: str) -> Found:
        if not address.startswith("s3://"):
            return Found(file_source(Path(address)))
        info = self._places.store.head(*parse_uri(address))
        return Found(self._places.object_source(info), info.etag)

    def _is(self, address: str) -> bool:
        try:
            self._at(address)
        except Missing:
            return False
        return True
