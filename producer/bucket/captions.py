"""The newest caption of a video, or why it has none; and the captions that are under a prefix."""

from collections.abc import Iterator

from producer.bucket.segments import segments_done
from producer.jobs.recipes import recipe_of
from shared.bucket.records import Records, read_view
from shared.bucket.storage import ObjectInfo, ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.bucket.videos import video_of
from shared.errors import JamakError, Missing, UsageError
from shared.messages import Caption, CaptionJob, Failure
from shared.settings import Settings


class NoCaption(JamakError):
    reason = "no_caption"


def newest(store: ObjectStore, settings: Settings, bucket: str, key: str) -> Caption | Failure:
    """What the view shows; without a view, the record or the failure by today's recipe.

    Raises:
        UsageError: there is no such video.
        NoCaption: it has neither.
    """
    records = Records(store, settings)
    try:
        return records.show(bucket, key)
    except Missing:
        pass
    if ":" in bucket:
        raise NoCaption("it has no caption yet", cure="Wait for it (`jamak status`).")
    try:
        video = video_of(store.head(bucket, key))
    except Missing as error:
        raise UsageError(f"s3://{bucket}/{key} does not exist", cure="Check the key.") from error
    job = CaptionJob(video=video, recipe=recipe_of(settings))
    found = records.find(job) or records.find_failure(job)
    if found is None:
        begun = segments_done(store, settings, video)
        far = f": {begun[0]} of {begun[1]} segments are done" if begun else ""
        raise NoCaption(
            f"{video.uri} has no caption yet{far}",
            cure=f"Wait for it (`jamak status`), or `jamak enqueue {video.uri}`.",
        )
    return found


def views_under(
    store: ObjectStore, settings: Settings, bucket: str, prefix: str
) -> Iterator[ObjectInfo]:
    """The JSON view of each video whose key begins so."""
    for output in settings.all_outputs:
        folder = f"{output.prefix}captions/{bucket}/"
        for info in store.list(output.bucket, folder + prefix):
            if info.key.endswith(".json") and not info.key.startswith(f"{folder}~/"):
                yield info
        # Keys that were too long for S3 lie here, whatever they begin with.
        for info in store.list(output.bucket, f"{folder}~/"):
            if info.key.endswith(".json") and _may_begin(store, info, prefix):
                yield info


def caption_in(store: ObjectStore, view: ObjectInfo) -> Caption | None:
    """None: it was deleted meanwhile. Raises DamagedObject, NewerObject."""
    try:
        return read_view(store, view.bucket, view.key)
    except Missing:
        return None


def _may_begin(store: ObjectStore, view: ObjectInfo, prefix: str) -> bool:
    """Of one that cannot be read nobody knows: whoever reads it says so."""
    try:
        caption = caption_in(store, view)
    except UNREADABLE:
        return True
    return caption is not None and caption.video.key.startswith(prefix)
