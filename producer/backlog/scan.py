"""A source becomes a backlog's shards: once, in order, and from where an earlier scan ended.

What has its record or its failure already is counted as ended, so that it is not fed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from producer.backlog.manifest import SHARD_LINES, Backlog, Manifest
from producer.backlog.sources import Entry, open_source
from producer.backlog.terms import Terms
from producer.jobs.examine import Examined, examine
from shared.broker.apps import reaching_redis
from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_producer
from shared.bucket.storage import ObjectStore
from shared.errors import Conflict, JamakError, Missing
from shared.messages import Recipe, Video
from shared.settings import CardName, Settings
from shared.telemetry import tracing


class NoVideos(JamakError):
    reason = "no_videos"


def create(
    store: ObjectStore,
    settings: Settings,
    name: str,
    source: str,
    recipe: Recipe,
    card: CardName,
    terms: Terms | None = None,
) -> Backlog:
    """An empty backlog, to be scanned.

    Raises:
        UsageError: the source is none, the name is taken.
    """
    open_source(source, store, settings)
    backlog = Backlog(store, settings, name)
    backlog.create(
        Manifest(name=name, source=source, recipe=recipe, card=card, created_at=datetime.now(UTC)),
        terms,
    )
    return backlog


def scan_new(
    store: ObjectStore,
    settings: Settings,
    queues: LeasedQueues,
    backlog: Backlog,
    on_shard: Callable[[Manifest], None] = lambda manifest: None,
) -> Manifest:
    """Scan what was just created. If nothing comes of it, its name is free again.

    Raises:
        NoVideos: nothing of the source is a video.
        BrokerRefuses: this user may not enqueue it.
    """
    try:
        prove_producer(queues)
        with reaching_redis():
            BacklogProgress(queues, backlog.name).forget()  # one whose files somebody deleted
        return scan(store, settings, queues, backlog, on_shard)
    except BaseException:
        # With a shard it is kept: `jamak backlog resume` goes on from there.
        with suppress(JamakError):
            manifest, _ = backlog.manifest()
            if not manifest.lines and manifest.created_at == backlog.created_at:
                backlog.delete()
        raise


def scan(
    store: ObjectStore,
    settings: Settings,
    queues: LeasedQueues,
    backlog: Backlog,
    on_shard: Callable[[Manifest], None] = lambda manifest: None,
) -> Manifest:
    """Write the shards that are not there yet.

    Raises:
        Conflict: another process scans it at this moment, or deleted it.
        NoVideos: nothing of the source is a video.
    """
    manifest, etag = backlog.manifest()
    progress = BacklogProgress(queues, backlog.name)
    if manifest.scanned:
        return manifest
    entries = open_source(manifest.source, store, settings).entries(manifest.position)
    for videos, skipped, position in _shards(entries):
        if not videos and not manifest.lines:
            raise _no_videos(manifest.source, skipped)
        start, number, names = manifest.lines, manifest.shards, manifest.names
        found = Examined()
        if videos:
            name = backlog.write_shard(number, videos)
            if name != manifest.shard_name(number):
                names = {**names, number: name}
            found = examine(store, settings, manifest.recipe, videos)
        manifest = manifest.model_copy(
            update={
                "lines": manifest.lines + len(videos),
                "size_bytes": manifest.size_bytes + sum(video.size_bytes for video in videos),
                "skipped": dict(Counter(manifest.skipped) + skipped),
                "position": position,
                "scanned": len(videos) < SHARD_LINES,
                "names": names,
            }
        )
        try:
            etag = backlog.save(manifest, etag)
        except (Conflict, Missing) as error:
            raise Conflict(
                f"{backlog.name} is scanned by another process, too, or was deleted",
                cure="`jamak backlog status` shows how it goes.",
            ) from error
        # Not before: else the lines may become other videos. A worker finds out what is fed
        # meanwhile.
        if len(found.missing) < len(videos):
            with reaching_redis():
                progress.merge(start, manifest.lines, found.outcomes(start), missing=())
        on_shard(manifest)
    if (spans := tracing.spans()) is not None:
        facts: tracing.Facts = {"jamak.source": manifest.source, "jamak.videos": manifest.lines}
        spans.scanned(manifest.name, manifest.created_at, facts)
    return manifest


def _no_videos(source: str, skipped: Mapping[str, int]) -> NoVideos:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(skipped.items()))
    keys = "key was" if sum(skipped.values()) == 1 else "keys were"
    why = f"{sum(skipped.values()):,} {keys} skipped ({reasons})" if skipped else "nothing is there"
    return NoVideos(
        f"SOURCE: there is no video in {source}: {why}",
        cure="Check the bucket, the prefix, and which endings are videos (JAMAK_VIDEO_SUFFIXES).",
        skipped=dict(skipped),
    )


def _shards(entries: Iterator[Entry]) -> Iterator[tuple[list[Video], Counter[str], str]]:
    """Full ones, and a last one that is not full, maybe empty; with the source's position then."""
    videos: list[Video] = []
    skipped: Counter[str] = Counter()
    position = ""
    for entry in entries:
        position = entry.position
        if entry.video:
            videos.append(entry.video)
        else:
            skipped[entry.skipped] += 1
        if len(videos) == SHARD_LINES:
            yield videos, skipped, position
            videos, skipped = [], Counter()
    yield videos, skipped, position
