"""What the bucket knows of many videos at once: which have a record, a failure, their views.

Everything is found by listing; only a failure's reason has to be read.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from producer.jobs.listed import present
from shared.broker.backlog_progress import DONE, FAILED
from shared.bucket.keys import failure_key, record_key, view_key
from shared.bucket.records import VIEWS, Records
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.errors import Missing
from shared.messages import CaptionJob, Recipe, Video
from shared.settings import Settings

READS_AT_ONCE = 16


@dataclass
class Examined:
    """Indexes into the videos that were examined."""

    done: set[int] = field(default_factory=set)
    failed: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By reason; a caption beats a failure."""
    missing: list[int] = field(default_factory=list)
    """Neither."""
    unrendered: list[int] = field(default_factory=list)
    """Done, but a view is not there, or it shows another content of the video."""

    def outcomes(self, start: int) -> dict[str, list[int]]:
        """For BacklogProgress, the first video being line `start`."""
        found = {f"{FAILED}{why}": [start + i for i in some] for why, some in self.failed.items()}
        return {**found, DONE: [start + i for i in self.done]}


def examine(
    store: ObjectStore,
    settings: Settings,
    recipe: Recipe,
    videos: Sequence[Video],
    *,
    views: bool = False,
) -> Examined:
    """Args:
    views: look for those, too.
    """
    jobs = [CaptionJob(video=video, recipe=recipe) for video in videos]
    everything = range(len(jobs))
    found = Examined()
    etags: dict[str, str] = {}
    found.done = _present(store, settings, jobs, everything, "records", record_key, etags)
    rest = [i for i in everything if i not in found.done]
    failed = _present(store, settings, jobs, rest, "failures", failure_key)
    for i, reason in _reasons(Records(store, settings), jobs, sorted(failed)):
        found.failed[reason].add(i)
    found.missing = [i for i in rest if i not in failed]
    if views:
        shown = set(found.done)
        for ending in VIEWS:
            name = _view(ending)
            shown &= _present(store, settings, jobs, sorted(shown), "captions", name, etags)
        shown -= _of_other_content(store, settings, jobs, sorted(shown), etags)
        found.unrendered = sorted(found.done - shown)
    return found


def _present(
    store: ObjectStore,
    settings: Settings,
    jobs: Sequence[CaptionJob],
    indexes: Sequence[int],
    kind: str,
    name: Callable[[str, CaptionJob], str],
    etags: dict[str, str] | None = None,
) -> set[int]:
    # Each output and source bucket has a folder of its own; mostly it is one.
    folders: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in indexes:
        job = jobs[i]
        output = settings.output_of(job.video.bucket, job.video.key)
        folder = f"{output.prefix}{kind}/{job.video.bucket}/"
        folders[output.bucket, folder][name(output.prefix, job)].append(i)
    found: set[int] = set()
    for (bucket, folder), names in folders.items():
        for key in present(store, bucket, folder, names, etags):
            found.update(names[key])
    return found


def _of_other_content(
    store: ObjectStore,
    settings: Settings,
    jobs: Sequence[CaptionJob],
    indexes: Sequence[int],
    etags: dict[str, str],
) -> set[int]:
    """Those whose view shows another content of the video than the job's. A view that has the ETag
    of the record is the same text, mostly; only another one is read."""
    records, view = Records(store, settings), _view(".json")

    def differs(i: int) -> bool:
        video = jobs[i].video
        try:
            return records.show(video.bucket, video.key).video.etag != video.etag
        except (*UNREADABLE, Missing):
            return False

    def is_same_text(i: int) -> bool:
        video = jobs[i].video
        prefix = settings.output_of(video.bucket, video.key).prefix
        record = etags.get(record_key(prefix, jobs[i]))
        return record is not None and record == etags.get(view(prefix, jobs[i]))

    unsure = [i for i in indexes if not is_same_text(i)]
    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="views") as pool:
        told = pool.map(differs, unsure)
        return {i for i, differ in zip(unsure, told, strict=True) if differ}


def _view(ending: str) -> Callable[[str, CaptionJob], str]:
    return lambda prefix, job: view_key(prefix, job.video.bucket, job.video.key, ending)


def _reasons(
    records: Records, jobs: Sequence[CaptionJob], indexes: Sequence[int]
) -> list[tuple[int, str]]:
    def reason(i: int) -> tuple[int, str]:
        try:
            failure = records.find_failure(jobs[i])
        except UNREADABLE as error:
            return i, error.reason
        return i, failure.reason if failure else "unknown"

    with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="failures") as pool:
        return list(pool.map(reason, indexes))
