"""What is done of a long video: its parting, and the segments that have their captions.

They lie in the bucket, so that whoever takes the job next goes on where the last one ended. Each is
written once; who comes second takes what is there. One that cannot be read is made anew. What a
canary said lies apart: nobody goes on from it but the same trial's canary.

A segment without text is not kept. There may be some when it is tried again: by another adapter, on
a machine that is less busy, or with more time to decode, as the cure of the failure advises.
"""

from collections.abc import Callable

from shared.bucket.keys import part_key
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import M, read, read_with_etag
from shared.errors import Conflict, DamagedObject, Missing
from shared.messages import CaptionJob, Cuts, Segment
from shared.settings import Settings


class Parts:
    """Of one job. Raises what ObjectStore raises."""

    def __init__(self, store: ObjectStore, settings: Settings, job: CaptionJob) -> None:
        self._store, self._job = store, job
        self._bucket, self._prefix = settings.output_of(job.video.bucket, job.video.key)
        self.written = 0

    def cuts(self, make: Callable[[], Cuts]) -> Cuts:
        return self._once(Cuts, "cuts", make)

    def segment(
        self, number: int, make: Callable[[], Segment], canary: int | None = None
    ) -> Segment:
        """Args:
        make: only called if there is none with text yet.
        canary: the trial of the one that is to say it; None = what is in use does.
        """
        side = "" if canary is None else f"canary-{canary}/"
        return self._once(Segment, f"{side}{number:04d}", make, lambda one: bool(one.text))

    def _once(
        self,
        kind: type[M],
        name: str,
        make: Callable[[], M],
        is_kept: Callable[[M], bool] = lambda one: True,
    ) -> M:
        key = part_key(self._prefix, self._job, name)
        etag: str | None = None
        try:
            found, etag = read_with_etag(self._store, kind, self._bucket, key)
            if is_kept(found):  # older versions kept all
                return found
        except Missing:
            pass
        except DamagedObject as error:
            etag = error.evidence["etag"]
        made = make()
        if not is_kept(made):
            return made
        body = made.model_dump_json().encode()
        try:
            self._store.put(
                self._bucket,
                key,
                body,
                content_type="application/json",
                if_none_match=etag is None,
                if_match=etag,
            )
        except Conflict:
            found = read(self._store, kind, self._bucket, key)
            return found if is_kept(found) else made
        self.written += 1
        return made
