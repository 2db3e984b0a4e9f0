"""What is done of a long video: its parting, and the segments that have their captions.

They lie in the bucket, so that whoever takes the job next goes on where the last one ended. Each is
written once; who comes second takes what is there.
"""

from collections.abc import Callable
from typing import TypeVar

from shared.bucket.keys import part_key
from shared.bucket.storage import ObjectStore
from shared.errors import Conflict, Missing
from shared.messages import CaptionJob, Cuts, Message, Segment, decode
from shared.settings import Settings

M = TypeVar("M", bound=Message)


class Parts:
    """Of one job. Raises what ObjectStore raises."""

    def __init__(self, store: ObjectStore, settings: Settings, job: CaptionJob) -> None:
        self._store, self._job = store, job
        self._bucket, self._prefix = settings.output_of(job.video.bucket, job.video.key)
        self.written = 0

    def cuts(self, make: Callable[[], Cuts]) -> Cuts:
        return self._once(Cuts, "cuts", make)

    def segment(self, number: int, make: Callable[[], Segment]) -> Segment:
        """Args:
        make: only called if it is not there yet.
        """
        return self._once(Segment, f"{number:04d}", make)

    def _once(self, kind: type[M], name: str, make: Callable[[], M]) -> M:
        key = part_key(self._prefix, self._job, name)
        found = self._find(kind, key)
        if found is not None:
            return found
        made = make()
        body = made.model_dump_json().encode()
        try:
            self._store.put(
                self._bucket, key, body, content_type="application/json", if_none_match=True
            )
        except Conflict:
            return decode(kind, self._store.get(self._bucket, key))
        self.written += 1
        return made

    def _find(self, kind: type[M], key: str) -> M | None:
        try:
            return decode(kind, self._store.get(self._bucket, key))
        except Missing:
            return None
