"""What a job leaves in the bucket: the record, once, and the views that follow from it."""

from collections.abc import Callable

from shared.errors import Conflict, Missing
from shared.keys import failure_key, record_key, view_key
from shared.messages import Caption, CaptionJob, Failure, decode
from shared.storage import ObjectStore
from workers.caption.formats import to_json, to_vtt

VIEWS: dict[str, tuple[str, Callable[[Caption], bytes]]] = {
    ".json": ("application/json", to_json),
    ".vtt": ("text/vtt", to_vtt),
}


class Records:
    """`bucket` and `prefix` are those of the output."""

    def __init__(self, store: ObjectStore, bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._prefix = store, bucket, prefix

    def find(self, job: CaptionJob) -> Caption | None:
        try:
            return decode(Caption, self._store.get(self._bucket, record_key(self._prefix, job)))
        except Missing:
            return None

    def write(self, job: CaptionJob, caption: Caption) -> bool:
        """False: somebody else's caption of this job is there already, and stays."""
        return self._write_once(record_key(self._prefix, job), to_json(caption))

    def write_failure(self, job: CaptionJob, failure: Failure) -> bool:
        body = failure.model_dump_json(indent=2).encode()
        return self._write_once(failure_key(self._prefix, job), body)

    def _write_once(self, key: str, body: bytes) -> bool:
        try:
            self._store.put(
                self._bucket, key, body, content_type="application/json", if_none_match=True
            )
        except Conflict:
            return False
        return True

    def render(self, caption: Caption) -> None:
        """Bring the views up to this caption, unless they show a newer one.

        The JSON view goes last: it says which caption the others were rendered from.
        """
        json_key = self._view_key(caption, ".json")
        while True:
            try:
                body, etag = self._store.get_with_etag(self._bucket, json_key)
                if _order(decode(Caption, body)) > _order(caption):
                    return
            except Missing:
                etag = None
            for ending, (content_type, render) in VIEWS.items():
                if ending != ".json":
                    self._store.put(
                        self._bucket,
                        self._view_key(caption, ending),
                        render(caption),
                        content_type=content_type,
                    )
            try:
                self._store.put(
                    self._bucket,
                    json_key,
                    to_json(caption),
                    content_type="application/json",
                    if_none_match=etag is None,
                    if_match=etag,
                )
            except Conflict:
                continue  # another caption of this key was rendered meanwhile: look again
            return

    def _view_key(self, caption: Caption, ending: str) -> str:
        return view_key(self._prefix, caption.video.bucket, caption.video.key, ending)


def _order(caption: Caption) -> tuple[object, ...]:
    """The newest video wins, then the highest generation, then the latest caption."""
    return (caption.last_modified, caption.recipe.generation, caption.created_at)
