"""Captions drawn by the fleet for a training set: through its queues like any other, behind the
uploads, and recorded in the bucket. What was drawn before is not drawn again.

Knows nothing of what they are for.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from shared import telemetry
from shared.broker.apps import CAPTION_TASK, reaching_redis
from shared.broker.leased_queues import LeasedQueues
from shared.broker.transport import rendered
from shared.bucket.records import Records
from shared.cards import CLASSES, GPU_CLASSES
from shared.errors import Unfinished, UsageError
from shared.messages import Caption, CaptionJob, Failure
from shared.settings import CardName
from shared.telemetry import tracing

AT_ONCE = 256
"""In the queue and in the hands of workers: what waits beyond that costs Redis nothing."""
READS = 16
"""Records looked for at once, those of the oldest jobs."""
LOOK_S = 0.2
PATIENCE_S = 60.0
"""Without a single caption, before it is asked whether a worker lives."""


def least_class(frames: int | None) -> CardName:
    """Raises UsageError: no class takes so many frames."""
    able = [name for name in GPU_CLASSES if frames is None or CLASSES[name].frames >= frames]
    if not able:
        most = CLASSES[GPU_CLASSES[-1]].frames
        raise UsageError(f"no card takes {frames} frames", cure=f"Ask for {most} at the most.")
    return able[0]


class Candidates:
    """Args:
    patience_s: see `PATIENCE_S`.
    """

    def __init__(
        self, records: Records, queues: LeasedQueues, patience_s: float = PATIENCE_S
    ) -> None:
        self._records, self._queues, self._patience_s = records, queues, patience_s

    def drawn(
        self, jobs: Iterable[CaptionJob], on_one: Callable[[], None]
    ) -> Iterator[tuple[CaptionJob, Caption | Failure]]:
        """Each job and what became of it, in their order; the jobs are of one class.

        Raises:
            Unfinished: no worker takes them. What is drawn so far is kept.
            BrokerUnavailable, BrokerRefuses: Redis does not take them.
        """
        coming, waiting, sent = iter(jobs), deque[CaptionJob](), set[str]()
        found: dict[str, Caption | Failure] = {}
        heard = time.monotonic()
        with ThreadPoolExecutor(READS, thread_name_prefix="candidates") as pool:
            while True:
                more = _up_to(AT_ONCE - len(waiting), coming)
                there = list(pool.map(self._find, more))
                found |= {job.id: one for job, one in zip(more, there, strict=True) if one}
                # Several rows may ask the same of one video.
                asked = {job.id: job for job, one in zip(more, there, strict=True) if not one}
                self._send([job for job in asked.values() if job.id not in sent])
                sent |= asked.keys()
                waiting += more
                while waiting and waiting[0].id in found:
                    job = waiting.popleft()
                    heard = time.monotonic()
                    on_one()
                    yield job, found.pop(job.id)
                if not waiting:
                    return
                oldest = [job for job in waiting if job.id not in found][:READS]
                there = list(pool.map(self._find, oldest))
                found |= {job.id: one for job, one in zip(oldest, there, strict=True) if one}
                if waiting[0].id in found:
                    continue
                if time.monotonic() - heard > self._patience_s:
                    self._prove_served(waiting[0])
                    heard = time.monotonic()
                time.sleep(LOOK_S)

    def _find(self, job: CaptionJob) -> Caption | Failure | None:
        return self._records.find(job) or self._records.find_failure(job)

    def _send(self, jobs: list[CaptionJob]) -> None:
        if not jobs:
            return
        queue = _queue_of(jobs[0])
        uris = [job.video.uri for job in jobs]
        with reaching_redis(), tracing.sending(queue, _named(jobs)) as headers:
            each = headers or [{}] * len(jobs)
            messages = [
                rendered(CAPTION_TASK, job.id, job.model_dump_json(), traced)
                for job, traced in zip(jobs, each, strict=True)
            ]
            self._queues.put(queue, self._queues.sharing.groups(queue, uris, messages))
        telemetry.JOBS_ENQUEUED.labels(queue).inc(len(jobs))

    def _prove_served(self, job: CaptionJob) -> None:
        queue = _queue_of(job)
        with reaching_redis():
            served = self._queues.serving()
        if queue not in served:
            raise Unfinished(
                f"no worker takes jobs from {queue}",
                cure="Start one (docs/operations.md) and run this again: what is drawn is kept.",
            )


def _up_to(most: int, jobs: Iterator[CaptionJob]) -> list[CaptionJob]:
    return [job for _, job in zip(range(most), jobs, strict=False)]


def _queue_of(job: CaptionJob) -> str:
    return f"{CLASSES[job.card].queue}.bulk"


def _named(jobs: list[CaptionJob]) -> Iterator[tuple[str, str]]:
    return ((job.id, job.video.uri) for job in jobs)
