"""The layout in S3, as pure functions. All keys are relative to the output prefix given.

    <prefix>records/<bucket>/<recipe>/<key>.<video8>.json     the truth, written once
    <prefix>failures/<bucket>/<recipe>/<key>.<video8>.json    the truth about what cannot be done
    <prefix>parts/<bucket>/<recipe>/<key>.<video8>/<n>.json   of a long video, before its record
    <prefix>asked/<bucket>/<recipe>/<key>.<video8>.json       of a video at an address, the job
    <prefix>captions/<bucket>/<key>.json  .vtt  .srt          views for people and programs
    <prefix>adapters/<base>/...                               see shared/bucket/registry.py
    <prefix>adapters/<base>/trials/...                        see shared/bucket/trials.py
    <prefix>training/<job>.json                               how a training job ended
    <prefix>training/<job>/...                                see shared/bucket/training.py
    <prefix>backlogs/<name>/...                               see producer/backlog/manifest.py
    <prefix>costs/<day>/<worker>.json                         see shared/bucket/ledgers.py
    <prefix>feedback/<sha256>.json                            see producer/feedback/store.py
    <prefix>retraining/...                                    see producer/feedback/journal.py

A key that would be longer than S3 allows, or between two slashes longer than the name of a file may
be, becomes `.../~/<sha256><ending>`; the true key is in it.
"""

import hashlib
import re
from posixpath import normpath
from urllib.parse import unquote, urlsplit

from shared.errors import UsageError
from shared.messages import CaptionJob, Video
from shared.settings import Settings
from shared.web.signed_query import digest_of_query

FOLDERS = (
    *("records", "failures", "parts", "asked", "captions"),
    *("adapters", "training", "backlogs", "costs", "feedback", "retraining", "probes"),
)
"""All that we write lies in these."""
BUCKET_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
"""What some S3 API may have; AWS allows less (docs.aws.amazon.com, "Bucket naming rules")."""
MAX_KEY_BYTES, MAX_SEGMENT_BYTES = 1024, 255
"""Of the UTF-8 form. Of all: docs.aws.amazon.com, "Naming Amazon S3 objects". Between two slashes:
the NAME_MAX of file systems, and so of MinIO and SeaweedFS; 82 Korean letters and our endings."""


def record_key(prefix: str, job: CaptionJob) -> str:
    return _bounded(*_record_parts(prefix, "records", job))


def earlier_record_key(prefix: str, job: CaptionJob) -> str | None:
    """Where a Jamak that hashed no name for the length of one segment wrote the record; None: there
    where it lies now."""
    now, plain = record_key(prefix, job), "".join(_record_parts(prefix, "records", job))
    return None if plain == now or len(plain.encode()) > MAX_KEY_BYTES else plain


def failure_key(prefix: str, job: CaptionJob) -> str:
    return _bounded(*_record_parts(prefix, "failures", job))


def asked_folder(prefix: str) -> str:
    return f"{prefix}asked/"


def asked_key(prefix: str, job: CaptionJob) -> str:
    return _bounded(*_record_parts(prefix, "asked", job))


def part_key(prefix: str, job: CaptionJob, name: str) -> str:
    """`name` is `cuts`, or the number of a segment; by a canary `canary-<trial>/<number>`."""
    folder, video, ending = _record_parts(prefix, "parts", job)
    return _bounded(folder, video, f"/{name}{ending}")


def parts_folder(recipe_folder: str, video: Video) -> str:
    """Where the parts of a video lie, in the folder of a recipe."""
    return _bounded(recipe_folder, name_of(video), "/0000.json").removesuffix("0000.json")


def recipes_folder(prefix: str, kind: str, bucket: str) -> str:
    """Under it lie the records, failures or parts of a bucket's videos, by recipe."""
    return f"{prefix}{kind}/{bucket}/"


def view_key(prefix: str, bucket: str, key: str, ending: str) -> str:
    """`ending` is `.json`, `.vtt` or `.srt`."""
    return _bounded(f"{prefix}captions/{bucket}/", key, ending)


def training_key(prefix: str, job_id: str) -> str:
    return f"{training_folder(prefix)}{job_id}.json"


def training_folder(prefix: str) -> str:
    return f"{prefix}training/"


def feedback_folder(prefix: str) -> str:
    return f"{prefix}feedback/"


def retraining_folder(prefix: str) -> str:
    return f"{prefix}retraining/"


def is_record(settings: Settings, address: str) -> bool:
    """Whether an address that somebody names is of a record of ours; there or not."""
    return any(
        address.startswith(f"s3://{output.bucket}/{output.prefix}records/")
        for output in settings.all_outputs
    )


def is_output(settings: Settings, bucket: str, key: str) -> bool:
    """Captions never trigger captions: nothing under an output is a video of ours.

    An output without a prefix shares its bucket with others, and owns its folders alone.
    """
    return any(
        bucket == output.bucket
        and key.startswith(output.prefix)
        and (output.prefix or key.split("/", 1)[0] in FOLDERS)
        for output in settings.all_outputs
    )


def name_of(video: Video) -> str:
    """Under a recipe."""
    return f"{video.key}.{video.video8}"


def _record_parts(prefix: str, kind: str, job: CaptionJob) -> tuple[str, str, str]:
    folder = f"{recipes_folder(prefix, kind, job.video.bucket)}{job.recipe.id}/"
    return folder, name_of(job.video), ".json"


def _bounded(folder: str, name: str, ending: str) -> str:
    plain = folder + name + ending
    longest = max(len(segment.encode()) for segment in (name + ending).split("/"))
    if len(plain.encode()) <= MAX_KEY_BYTES and longest <= MAX_SEGMENT_BYTES:
        return plain
    return f"{folder}~/{hashlib.sha256(name.encode()).hexdigest()}{ending}"


def place_of(address: str, argument: str = "") -> tuple[str, str]:
    """The bucket and the key of a video in records and views; `https:host` stands for a bucket.
    Neither has what opens the video. What else is in a query is told apart by a digest: `key~...`.

    Args:
        argument: what the operator calls it; the error names it.

    Raises:
        UsageError: it is no address.
    """
    scheme, sign, rest = address.partition("://")
    if not sign or scheme == "s3":
        return parse_uri(address, argument)
    if scheme == "file":
        return "file:", normpath(unquote(rest)).lstrip("/")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        named = f"{argument}: " if argument else ""
        raise UsageError(f"{named}this is no address", cure="Write https://host/path.") from error
    if parts.scheme not in ("http", "https"):
        named = f"{argument}: " if argument else ""
        raise UsageError(f"{named}this is no address", cure="Write https://host/path.")
    host, digest = parts.netloc.rpartition("@")[2].lower(), digest_of_query(parts.query)
    key = unquote(parts.path).lstrip("/")
    return f"{parts.scheme}:{host}", f"{key}~{digest}" if digest else key


def parse_uri(uri: str, argument: str = "") -> tuple[str, str]:
    """`s3://bucket/key` -> (bucket, key). The key may be empty, and may start with a slash.

    Args:
        argument: what the operator calls it; the error names it.

    Raises:
        UsageError: it is not such a URI.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    named = f"{argument}: " if argument else ""
    if not uri.startswith("s3://") or not bucket:
        raise UsageError(f"{named}{uri!r} is not an S3 address", cure="Write s3://bucket/key.")
    if not BUCKET_NAME.fullmatch(bucket):
        raise UsageError(
            f"{named}{bucket!r} cannot be the name of a bucket",
            cure="A bucket's name has letters, digits, dots, hyphens and underscores only.",
        )
    return bucket, key
