"""Backlogs into queues: round-robin, and never above a queue's high-water mark.

How far each is fed stands in Redis, where it moves in the same step that puts the messages, so any
number of feeders put each job once. The cursor in the bucket follows; after a loss of Redis feeding
goes on from there.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import ceil

import redis

from producer.backlog.manifest import SHARD_LINES, Backlog, Manifest
from producer.jobs.in_flight import count_of
from producer.jobs.send import AT_ONCE, grouped, named, queue_of
from shared import telemetry
from shared.broker.apps import reaching_redis
from shared.broker.backlog_progress import NOWHERE, BacklogProgress
from shared.broker.leased_queues import LeasedQueues, WorkerSeen
from shared.broker.sharing import list_of
from shared.errors import JamakError, NewerObject, Reject, UsageError
from shared.messages import BacklogLine, CaptionJob, Video
from shared.telemetry import tracing
from shared.telemetry.health import LoopHealth
from shared.tenants import OTHER

SAVE_S = 2.0
"""How old the cursor in the bucket may grow while feeding."""

log = telemetry.get_logger("jamak.feeder")


class Feed:
    """One backlog, as one process feeds it."""

    def __init__(self, backlog: Backlog, queues: LeasedQueues) -> None:
        self.backlog, self.name = backlog, backlog.name
        self.manifest, _ = backlog.manifest()
        self.cursor, _ = backlog.cursor()
        self.queue = queue_of(self.manifest.card, bulk=True)
        self._queues, self._sharing = queues, queues.sharing
        self._progress = BacklogProgress(queues, backlog.name)
        self._shard: tuple[int, list[Video]] = (-1, [])
        self._ended: tuple[int, set[int]] = (-1, set())
        self._saved_at = time.monotonic()
        self.free = 0
        """Lines it went past that had ended already, and the cursor does not know."""
        self.broken: JamakError | None = None
        """Something of it cannot be read."""
        self.gone = False
        """It was cancelled, or deleted under us; there may be another one of this name."""
        with reaching_redis():
            fed = self._progress.fed()
        self.fed = self.cursor.fed if fed in (None, NOWHERE) else fed
        """Lines before this one are in flight, or were."""

    def look(self) -> None:
        """Somebody may have paused or deleted it, and a scan may have added to it."""
        try:
            manifest, _ = self.backlog.manifest()
            self.cursor, _ = self.backlog.cursor()
        except UsageError:
            self.gone = True
            return
        except (Reject, NewerObject) as error:
            self.broken = error
            return
        self.gone = self.gone or manifest.created_at != self.manifest.created_at
        self.manifest = manifest

    @property
    def goes_to(self) -> str:
        """The list of the job of its next line: the queue's, or one of a tenant's in it.

        Raises redis.RedisError.
        """
        return list_of(self.queue, self._tenant if self._sharing.is_shared(self.queue) else OTHER)

    @property
    def weight(self) -> float:
        """Of the tenant whose its next line is."""
        return self._sharing.tenants.weights[self._tenant]

    @property
    def _tenant(self) -> str:
        """Whose its next line is."""
        number, at = divmod(self.fed, SHARD_LINES)
        if not self._sharing.wanted:
            return OTHER
        try:
            shard = self._videos(number)
        except (Reject, NewerObject) as error:
            self.broken = error
            return OTHER
        return self._sharing.tenants.of(shard[at].uri) if at < len(shard) else OTHER

    @property
    def running(self) -> bool:
        return self.cursor.state == "running" and self.broken is None and not self.gone

    @property
    def waits(self) -> bool:
        """Lines of it are not fed yet."""
        return self.fed < self.manifest.lines

    @property
    def finished(self) -> bool:
        """Nothing will ever be fed any more."""
        over = self.manifest.scanned and not self.waits
        return self.gone or self.cursor.state == "cancelled" or over

    def ended(self) -> int:
        """How many of the lines that are fed. Raises BrokerUnavailable."""
        with reaching_redis():
            return self._progress.ended_before(self.fed)

    def in_flight(self) -> int:
        """How many of its jobs Redis holds, by looking at each. Raises BrokerUnavailable."""
        return count_of(self._queues, self.name)

    def workers(self) -> list[WorkerSeen]:
        """Those that live. Raises BrokerUnavailable."""
        with reaching_redis():
            return self._queues.workers()

    def step(self, room: int, away: Container[str] = ()) -> int:
        """Feed a stretch of at most so many jobs; how many lines it went on. It ends where the
        lines of another tenant begin, whose list may be full.

        Args:
            away: buckets that do not answer: what comes next of them waits here.

        Raises:
            BrokerUnavailable: the stretch is fed, or it is not; next time that is known.
        """
        number, at = divmod(self.fed, SHARD_LINES)
        try:
            shard = self._videos(number)
        except (Reject, NewerObject) as error:
            self.broken = error
            return 0
        ended = self._ended_of(number, len(shard))
        jobs: list[CaptionJob] = []
        start = end = self.fed
        limit, tenant = min(room, AT_ONCE), self._tenant
        while at < len(shard) and len(jobs) < limit:
            if end not in ended:
                if shard[at].bucket in away:
                    break
                if self._sharing.wanted and self._sharing.tenants.of(shard[at].uri) != tenant:
                    break
                jobs.append(self._job(shard[at], end))
            at += 1
            end += 1
        if end == start and at < len(shard):
            return 0
        with reaching_redis(), self._traced(jobs) as headers:
            told = grouped(self._queues, self.queue, jobs, headers)
            self.fed, put = self._progress.feed(self.queue, start, end, told)
        if self.fed == NOWHERE:
            self.fed, self.gone = start, True
            return 0
        if put:
            telemetry.JOBS_ENQUEUED.labels(self.queue).inc(len(jobs))
            self.free += end - start - len(jobs)
        if not self.waits or time.monotonic() - self._saved_at > SAVE_S:
            self.save()
        return self.fed - start

    def save(self) -> None:
        if (self.fed > self.cursor.fed or self.free) and not self.gone:
            try:
                self.cursor = self.backlog.advance(self.fed, self.free)
                self.free = 0
            except UsageError:
                self.gone = True
            except (Reject, NewerObject) as error:
                self.broken = error  # how far it is fed stands in Redis, too
        self._saved_at = time.monotonic()

    @contextmanager
    def _traced(self, jobs: Sequence[CaptionJob]) -> Iterator[Sequence[Mapping[str, str]]]:
        """Each in a trace of its own, that leads to the backlog's."""
        spans = tracing.spans()
        if spans is None:
            yield ()
            return
        created_at = self.manifest.created_at
        with (
            spans.feeding(self.name, created_at, self.queue, len(jobs)) as backlog,
            spans.sending(self.queue, named(jobs), backlog=backlog) as headers,
        ):
            yield headers

    def _job(self, video: Video, line: int) -> CaptionJob:
        return CaptionJob(
            video=video,
            recipe=self.manifest.recipe,
            card=self.manifest.card,
            backlog=BacklogLine(name=self.name, line=line),
        )

    def _videos(self, number: int) -> list[Video]:
        have, shard = self._shard
        if have != number:
            shard = self.backlog.shard(self.manifest.shard_name(number))
            self._shard = number, shard
        return shard

    def _ended_of(self, number: int, size: int) -> set[int]:
        """Asked once a shard: what ends later costs a worker one look into the bucket."""
        have, ended = self._ended
        if have != number:
            start = number * SHARD_LINES
            with reaching_redis():
                ended = self._progress.ended(start, start + size)
            self._ended = number, ended
        return ended


def feed_round(
    feeds: Sequence[Feed],
    room: Callable[[str], int],
    away: Callable[[str], Container[str]] = lambda queue: (),
    allow: Callable[[Feed, int], int] = lambda feed, room: room,
) -> int:
    """One stretch of each backlog that has something to feed; how many lines that were.

    Backlogs that go to the same list share its room, by the weights of their tenants where those
    have no lists of their own; what cannot be shared goes to the first ones.

    Args:
        room: of a queue, or of a tenant's list in it.
        away: the buckets that do not answer the workers of a queue.
        allow: how many of so many jobs of a backlog may be fed.
    """
    fed = 0
    able = defaultdict(list)
    for feed in feeds:
        if feed.running and feed.waits:
            with reaching_redis():
                able[feed.goes_to].append(feed)
    for name, sharing in able.items():
        gone = away(sharing[0].queue)
        for feed, share in zip(sharing, portions(room(name), sharing), strict=True):
            if share and (mine := allow(feed, share)):
                fed += feed.step(mine, gone)
    return fed


def portions(room: int, sharing: Sequence[Feed]) -> Iterator[int]:
    """Of each, in their order."""
    weights = [feed.weight for feed in sharing]
    given = so_far = 0
    for weight in accumulate(weights):
        so_far = ceil(room * weight / sum(weights))
        yield so_far - given
        given = so_far


class Feeder:
    """All backlogs of an output, until stopped.

    Args:
        find: the names of the backlogs there are.
        fed: how far Redis says that each of these names is fed.
        open_feed: one of them.
        room: how many messages a queue takes now.
        wait: until the next look; True = stop.
        away, allow: as `feed_round`.
        settle: sums up what one that is fed has cost so far; True: nothing more will come.
        pool: what waits where no live worker looks is moved; how many messages that were.
    """

    LOOK_S = 2.0
    """At cursors: how soon a pause is noticed."""
    FIND_S = 10.0
    IDLE_S = 0.2

    def __init__(
        self,
        find: Callable[[], Sequence[str]],
        fed: Callable[[Sequence[str]], Sequence[int | None]],
        open_feed: Callable[[str], Feed],
        room: Callable[[str], int],
        wait: Callable[[float], bool],
        away: Callable[[str], Container[str]] = lambda queue: (),
        allow: Callable[[Feed, int], int] = lambda feed, room: room,
        settle: Callable[[Feed], bool] = lambda feed: True,
        pool: Callable[[], int] = lambda: 0,
    ) -> None:
        self._find, self._fed, self._open = find, fed, open_feed
        self._room, self._wait, self._away = room, wait, away
        self._allow, self._settle, self._pool = allow, settle, pool
        self._feeds: dict[str, Feed] = {}
        self._over: dict[str, int | None] = {}
        """How far they were fed. If that changes, there is another backlog of the name."""
        self._turn = 0
        self._manifests: dict[str, Manifest] = {}
        self.health = LoopHealth()
        self._found_at = self._looked_at = float("-inf")

    def run(self) -> None:
        stop, ails = False, telemetry.Repeated(log, "feeds again", quiet_s=0.0)
        while not stop:
            try:
                fed = self.round()
                self.health.worked()
                ails.worked()
                pause_s = 0.0 if fed else self.IDLE_S
            except (JamakError, redis.RedisError) as error:
                self.health.failed(str(error))
                reason = getattr(error, "reason", type(error).__name__)
                ails.failed("could not feed", about=reason, message=str(error))
                pause_s = 1.0
            stop = self._wait(pause_s)
        for feed in self._feeds.values():
            feed.save()

    def round(self) -> int:
        now = time.monotonic()
        if now - self._found_at > self.FIND_S:
            self._find_more()
            self._found_at = now
        if now - self._looked_at > self.LOOK_S:
            for feed in self._feeds.values():
                self.health.moved()
                feed.look()
            if moved := self._pool():
                log.warning("no live worker reads the lists of tenants", moved=moved)
            self._looked_at = now
        for name, feed in list(self._feeds.items()):
            self._manifests[name] = feed.manifest
            if feed.broken:
                log.error(
                    "cannot feed", backlog=name, message=str(feed.broken), cure=feed.broken.cure
                )
                del self._feeds[name]  # until it is found again
            elif feed.finished and (feed.gone or self._settle(feed)):
                log.info("gone" if feed.gone else "fed", backlog=name, lines=feed.fed)
                if not feed.gone:
                    (self._over[name],) = self._fed([name])
                del self._feeds[name]
        feeds = list(self._feeds.values())
        self._turn += 1
        first = self._turn % max(len(feeds), 1)
        ran = [feed for feed in feeds if feed.running]
        fed = feed_round(feeds[first:] + feeds[:first], self._room, self._away, self._allow)
        for feed in ran:
            if feed.cursor.state == "paused" and feed.cursor.why:
                log.warning("paused", backlog=feed.name, reason=feed.cursor.why, lines=feed.fed)
        return fed

    def lines(self) -> dict[str, int]:
        """Backlog -> how many videos it has, as far as it is scanned; the newest last."""
        known = sorted(self._manifests.copy().values(), key=lambda one: one.created_at)
        return {one.name: one.lines for one in known}

    def _find_more(self) -> None:
        """One that cannot be opened does not keep the others."""
        names = self._find()
        over = [name for name in names if name in self._over]
        unchanged = zip(over, self._fed(over), strict=True)
        self._over = {name: fed for name, fed in unchanged if fed == self._over[name]}
        for name in names:
            if name in self._feeds or name in self._over:
                continue
            self.health.moved()  # there may be thousands of them
            try:
                self._feeds[name] = self._open(name)
            except UsageError as error:
                log.debug("not there", backlog=name, message=str(error))  # deleted by half
            except (Reject, NewerObject) as error:
                log.error("cannot open", backlog=name, message=str(error), cure=error.cure)
