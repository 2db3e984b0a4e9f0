"""The caption that somebody means, by the address of its video or of its record."""

from dataclasses import dataclass

from producer.bucket.captions import NoCaption, newest
from shared.bucket.keys import is_output, is_record, parse_uri, place_of
from shared.bucket.records import Records
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.errors import Missing, UsageError
from shared.feedback import Judged, about
from shared.messages import Caption, Failure
from shared.settings import Settings


@dataclass(frozen=True)
class Found:
    about: Judged
    text: str


class Captions:
    """Each is looked for once. Raises what ObjectStore raises."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._records = Records(store, settings)
        self._found: dict[str, Found] = {}

    def is_record(self, address: str) -> bool:
        return is_record(self._settings, address)

    def at(self, address: str) -> Found:
        """Of a video its newest caption.

        Raises:
            UsageError: it is neither a video nor a record of ours.
            NoCaption: the video has none.
            DamagedObject, NewerObject, TooLarge: it cannot be read.
        """
        found = self._found.get(address)
        if found is None:
            ours = self.is_record(address)
            caption = self._record(address) if ours else self._newest(address)
            where = address if ours else self._records.place_of(caption)
            found = self._found[address] = Found(about(caption, where), caption.text)
        return found

    def _record(self, address: str) -> Caption:
        try:
            return read(self._store, Caption, *parse_uri(address))
        except Missing as error:
            raise UsageError(
                f"{address}: there is no such record",
                cure="`jamak show` tells the record of a video's caption.",
            ) from error

    def _newest(self, address: str) -> Caption:
        bucket, key = place_of(address)
        if not key or is_output(self._settings, bucket, key):
            raise UsageError(
                f"{address} is neither a video nor a record of a caption",
                cure="Name s3://bucket/key of the video, or the record that `jamak show` tells.",
            )
        found = newest(self._store, self._settings, bucket, key)
        if isinstance(found, Failure):
            raise NoCaption(f"{address} has no caption: {found.reason}", cure=found.cure)
        return found
