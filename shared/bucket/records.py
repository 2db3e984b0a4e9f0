"""What a job leaves in the bucket: the record, once, and the views that follow from it.

Which bucket is a function of the video (`Settings.output_of`), so both sides find it alike.
"""

from collections.abc import Callable
from datetime import timedelta

from shared.bucket.formats import to_json, to_srt, to_vtt
from shared.bucket.keys import earlier_record_key, failure_key, record_key, view_key
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read, read_with_etag
from shared.bucket.swaps import swaps
from shared.errors import (
    Conflict,
    DamagedObject,
    Missing,
    NewerObject,
    NoSuchBucket,
    Reject,
    StoreRefuses,
    TooLarge,
)
from shared.messages import Caption, CaptionJob, Failure, Video
from shared.settings import Settings

JSON_TYPE = "application/json; charset=utf-8"

CLOCKS_DIFFER = timedelta(minutes=15)
"""What a date may lie in the future: S3 itself refuses requests whose clock is off by more."""

VIEWS: dict[str, tuple[str, Callable[[Caption], bytes]]] = {
    ".json": (JSON_TYPE, to_json),
    # Without a charset, browsers and players take Korean text for Latin-1.
    ".vtt": ("text/vtt; charset=utf-8", to_vtt),
    ".srt": ("application/x-subrip; charset=utf-8", to_srt),
}


class Records:
    """Raises what ObjectStore raises."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def find(self, job: CaptionJob) -> Caption | None:
        bucket, prefix = self._output(job)
        try:
            return read(self._store, Caption, bucket, record_key(prefix, job))
        except Missing:
            pass
        earlier = earlier_record_key(prefix, job)
        if earlier is None:
            return None
        try:
            return read(self._store, Caption, bucket, earlier)
        except (Missing, StoreRefuses):  # some take no names of that length
            return None

    def exists(self, job: CaptionJob) -> bool:
        bucket, prefix = self._output(job)
        if self._store.exists(bucket, record_key(prefix, job)):
            return True
        earlier = earlier_record_key(prefix, job)
        try:
            return earlier is not None and self._store.exists(bucket, earlier)
        except StoreRefuses:
            return False

    def find_failure(self, job: CaptionJob) -> Failure | None:
        bucket, prefix = self._output(job)
        try:
            return read(self._store, Failure, bucket, failure_key(prefix, job))
        except Missing:
            return None

    def write(self, job: CaptionJob, caption: Caption) -> bool:
        """False: somebody else's caption of this job is there already, and stays."""
        bucket, prefix = self._output(job)
        return self._write_once(bucket, record_key(prefix, job), to_json(caption))

    def write_failure(self, job: CaptionJob, failure: Failure) -> bool:
        bucket, prefix = self._output(job)
        body = failure.model_dump_json(indent=2).encode()
        return self._write_once(bucket, failure_key(prefix, job), body)

    def _write_once(self, bucket: str, key: str, body: bytes) -> bool:
        try:
            self._store.put(bucket, key, body, content_type=JSON_TYPE, if_none_match=True)
        except Conflict:
            return False
        return True

    def place_of(self, caption: Caption) -> str:
        """The address of its record."""
        job = CaptionJob(video=caption.video, recipe=caption.recipe)
        bucket, prefix = self._output(job)
        return f"s3://{bucket}/{record_key(prefix, job)}"

    def place_of_failure(self, job: CaptionJob) -> str:
        """The address of its failure record."""
        bucket, prefix = self._output(job)
        return f"s3://{bucket}/{failure_key(prefix, job)}"

    def places_of_views(self, bucket: str, key: str) -> list[str]:
        """The addresses of a video's views, there or not."""
        output = self._settings.output_of(bucket, key)
        keys = (view_key(output.prefix, bucket, key, ending) for ending in VIEWS)
        return [f"s3://{output.bucket}/{view}" for view in keys]

    def show(self, bucket: str, key: str) -> Caption:
        """What the view of a video says. Raises Missing: there is none."""
        output = self._settings.output_of(bucket, key)
        return read_view(self._store, output.bucket, view_key(output.prefix, bucket, key, ".json"))

    def shows(self, job: CaptionJob) -> bool:
        """Whether the view is this job's record, byte for byte: also of one that cannot be read."""
        bucket, prefix = self._output(job)
        view = view_key(prefix, job.video.bucket, job.video.key, ".json")
        try:
            return self._store.get(bucket, view) == self._store.get(bucket, record_key(prefix, job))
        except (Missing, TooLarge):
            return False

    def render(self, caption: Caption) -> bool:
        """Bring the views up to this caption, unless they show a newer one: then bring the others
        up to that. Whoever rendered them may have died, or have been overtaken, in between.

        The JSON view goes last: it says which caption the others were rendered from. One that
        cannot be read is written anew; one that a newer Jamak wrote stays. One of several drawn for
        a training set is never shown.

        Returns:
            Whether anything was written.

        Raises:
            NewerObject: ours now lie over views of a newer Jamak, which has to write them again.
        """
        if caption.recipe.decoding.draw is not None:
            return False
        video = caption.video
        bucket, prefix = self._settings.output_of(video.bucket, video.key)
        json_key = view_key(prefix, video.bucket, video.key, ".json")
        wrote = False
        for _ in swaps(f"s3://{bucket}/{json_key}"):
            shown: Caption | None = None
            etag: str | None = None
            try:
                shown, etag = read_with_etag(self._store, Caption, bucket, json_key)
            except Missing:
                pass
            except DamagedObject as error:
                etag = error.evidence["etag"]
            except NewerObject:
                if wrote:
                    raise
                return False
            if shown is not None and self._is_newer(shown, caption):
                return self._render_others(shown, where_they_differ=True) or wrote
            self._render_others(caption)
            wrote = True
            try:
                self._store.put(
                    bucket,
                    json_key,
                    to_json(caption),
                    content_type=JSON_TYPE,
                    if_none_match=etag is None,
                    if_match=etag,
                )
            except Conflict:
                continue  # another caption of this key was rendered meanwhile: look again
            return True
        raise AssertionError("the last swap returns or raises")

    def _is_newer(self, shown: Caption, caption: Caption) -> bool:
        """Of two contents of a key the one that the bucket holds now is newer, whatever the dates
        say: the older one may have come back."""
        ours, theirs = caption.video, shown.video
        if ours.etag != theirs.etag and ours.in_bucket:
            current = self.current_etag(ours)
            if current in (ours.etag, theirs.etag):
                return current == theirs.etag
        return _order(shown) > _order(caption)

    def current_etag(self, video: Video) -> str | None:
        """Of what lies in the bucket under its key now; None: nothing that can be looked at."""
        try:
            return self._store.head(video.bucket, video.key).etag
        except (Reject, NoSuchBucket):
            return None

    def _render_others(self, caption: Caption, *, where_they_differ: bool = False) -> bool:
        """Whether anything was written."""
        wrote, video = False, caption.video
        bucket, prefix = self._settings.output_of(video.bucket, video.key)
        for ending, (content_type, render) in VIEWS.items():
            if ending == ".json":
                continue
            key, body = view_key(prefix, video.bucket, video.key, ending), render(caption)
            if where_they_differ and self._is(bucket, key, body):
                continue
            self._store.put(bucket, key, body, content_type=content_type)
            wrote = True
        return wrote

    def _is(self, bucket: str, key: str, body: bytes) -> bool:
        try:
            return self._store.get(bucket, key) == body
        except (Missing, DamagedObject, TooLarge):
            return False

    def _output(self, job: CaptionJob) -> tuple[str, str]:
        return self._settings.output_of(job.video.bucket, job.video.key)


def read_view(store: ObjectStore, bucket: str, key: str) -> Caption:
    """Raises Missing, DamagedObject, NewerObject."""
    return read(
        store,
        Caption,
        bucket,
        key,
        cure="Delete it: `jamak reconcile` writes it anew, from the record.",
    )


def _order(caption: Caption) -> tuple[object, ...]:
    """The newest video wins, then the highest generation, then the latest caption."""
    # Nothing is newer than its caption: a date that says so was made up by a server.
    modified = min(caption.last_modified, caption.created_at + CLOCKS_DIFFER)
    return (modified, caption.recipe.generation, caption.created_at)
