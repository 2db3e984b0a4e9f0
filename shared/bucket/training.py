"""A training job in S3: what was asked, who has the last word, how far it is, how it ended.

    <prefix>training/<job>/asked.json      the job, as it was sent
    <prefix>training/<job>/decision.json   train, publish, cancel or pause
    <prefix>training/<job>/start.json      which adapters were in use when it was begun first
    <prefix>training/<job>/progress.json   how far it is; written over and over
    <prefix>training/<job>.json            how it ended; written once

Knows nothing of queues: where a job waits or runs is what Redis says.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal

from shared.bucket.keys import training_folder, training_key
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read, read_with_etag
from shared.bucket.swaps import swaps
from shared.errors import Cancelled, Conflict, Missing, Paused, Reject
from shared.messages import M, Message
from shared.training import (
    Pointer,
    TrainAsked,
    TrainDecision,
    TrainJob,
    TrainOutcome,
    TrainProgress,
)

Decision = Literal["train", "publish", "cancel", "pause"]


class TrainStart(Message):
    """What a training job found, whoever goes on with it. Written once."""

    v: int = 1
    in_use: dict[str, Pointer]
    """Start of the base model's digest -> the pointer then, without its history."""
    at: datetime


class TrainingRecords:
    """`bucket` and `prefix` are those of the output."""

    def __init__(self, store: ObjectStore, bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._prefix = store, bucket, prefix

    def ask(self, job: TrainJob) -> None:
        """Before it is sent."""
        self._put(job.id, "asked", TrainAsked(job=job, asked_at=datetime.now(UTC)))

    def asked(self, job_id: str) -> TrainAsked | None:
        """None: an older Jamak sent it."""
        return self._get(TrainAsked, job_id, "asked")

    def started(self, job_id: str, look: Callable[[], dict[str, Pointer]]) -> dict[str, Pointer]:
        """Which adapters were in use when the job was begun first.

        Args:
            look: which are; only asked if nobody has begun it before.
        """
        key = self._key(job_id, "start")
        found = self._get(TrainStart, job_id, "start")
        if found is not None:
            return found.in_use
        in_use = {
            base: pointer.model_copy(update={"history": ()}) for base, pointer in look().items()
        }
        start = TrainStart(in_use=in_use, at=datetime.now(UTC))
        try:
            self._store.put(
                self._bucket,
                key,
                start.model_dump_json(indent=2).encode(),
                content_type="application/json",
                if_none_match=True,
            )
        except Conflict:
            return read(self._store, TrainStart, self._bucket, key).in_use
        return in_use

    def tell(self, progress: TrainProgress) -> None:
        self._put(progress.job_id, "progress", progress)

    def progress(self, job_id: str) -> TrainProgress | None:
        return self._get(TrainProgress, job_id, "progress")

    def end(self, outcome: TrainOutcome) -> None:
        """Raises Conflict: how it ended is written already."""
        self._store.put(
            self._bucket,
            training_key(self._prefix, outcome.job_id),
            outcome.model_dump_json(indent=2).encode(),
            content_type="application/json",
            if_none_match=True,
        )

    def outcome(self, job_id: str) -> TrainOutcome | None:
        try:
            return read(self._store, TrainOutcome, self._bucket, training_key(self._prefix, job_id))
        except Missing:
            return None

    def cancel(self, job_id: str) -> None:
        """From here on nothing of the job is published. Again is harmless.

        Raises:
            Reject: it is being published.
        """
        if self._decide(job_id, "cancel", over=("train", "pause")) == "publish":
            raise Reject(
                f"training job {job_id} is trained, and is being published: too late to cancel it",
                cure="`jamak adapters rollback` puts its adapter down again, if it is in use.",
            )

    def pause(self, job_id: str) -> None:
        """From here on nobody trains it before it is resumed. Again is harmless.

        Raises:
            Reject: it is being published, or was cancelled.
        """
        decided = self._decide(job_id, "pause", over=("train",))
        if decided == "publish":
            raise Reject(
                f"training job {job_id} is trained, and is being published: too late to pause it",
                cure="`jamak train status` says in a moment how it ended.",
            )
        if decided == "cancel":
            raise _too_late(job_id)

    def resume(self, job_id: str) -> None:
        """It may be trained again. Of two who resume it at once, one is refused.

        Raises:
            Reject: it is not paused.
        """
        for _ in swaps(f"s3://{self._bucket}/{self._key(job_id, 'decision')}"):
            decision, etag = self._decision(job_id)
            if decision.wanted == "cancel":
                raise _too_late(job_id)
            if decision.wanted != "pause":
                raise Reject(
                    f"nobody has paused training job {job_id}",
                    cure="`jamak train status` shows where it is.",
                )
            try:
                self._write_decision(job_id, "train", etag)
            except Conflict:
                continue  # somebody else decided: see how
            return
        raise AssertionError("the last swap returns or raises")

    def decision(self, job_id: str) -> TrainDecision:
        """What is wanted of it; `train` while nobody has decided anything."""
        return self._decision(job_id)[0]

    def check_wanted(self, job_id: str) -> None:
        """Raises Cancelled, Paused."""
        _check(job_id, self.decision(job_id).wanted)

    def begin(self, job_id: str, check: Callable[[], None]) -> None:
        """It is trained from the start: whoever was about to publish it is gone.

        It is always written, so that a worker which lost the job sees that it was begun again.

        Args:
            check: raises if the job is not ours any more; asked between the look and the write.

        Raises:
            Cancelled: it is not wanted any more.
            Paused: it is not wanted now.
        """
        _check(job_id, self._decide(job_id, "train", ("train", "publish"), check))

    def about_to_publish(self, job_id: str, check: Callable[[], None]) -> None:
        """From here on it can no longer be cancelled. Again is harmless.

        Args:
            check: as that of `begin`.

        Raises:
            Cancelled: it is not wanted any more.
            Paused: it is not wanted now.
        """
        _check(job_id, self._decide(job_id, "publish", ("train",), check))

    def ids(self) -> Iterator[tuple[str, bool]]:
        """Each job, and whether it has ended, by name: the newest last."""
        folder, ended = training_folder(self._prefix), dict[str, bool]()
        for item in self._store.list(self._bucket, folder):
            name, slash, _ = item.key.removeprefix(folder).partition("/")
            job_id = name if slash else name.removesuffix(".json")
            ended[job_id] = ended.get(job_id, False) or not slash
        # Not every store lists in the order of the names.
        yield from sorted(ended.items())

    def _decide(
        self,
        job_id: str,
        wanted: Decision,
        over: tuple[Decision, ...],
        check: Callable[[], None] = lambda: None,
    ) -> Decision:
        """What is decided afterwards: `wanted`, unless somebody decided otherwise before."""
        for _ in swaps(f"s3://{self._bucket}/{self._key(job_id, 'decision')}"):
            decision, etag = self._decision(job_id)
            # Whoever gets the job after this writes, and then what was read here is outdated.
            check()
            if decision.wanted not in over:
                return decision.wanted
            try:
                self._write_decision(job_id, wanted, etag)
            except Conflict:
                continue  # somebody else decided: see how
            return wanted
        raise AssertionError("the last swap returns or raises")

    def _decision(self, job_id: str) -> tuple[TrainDecision, str | None]:
        key = self._key(job_id, "decision")
        try:
            return read_with_etag(self._store, TrainDecision, self._bucket, key)
        except Missing:
            return TrainDecision(wanted="train", at=datetime.now(UTC)), None

    def _write_decision(self, job_id: str, wanted: Decision, etag: str | None) -> None:
        # An older Jamak reads what it knows.
        version = 2 if wanted == "pause" else 1
        decision = TrainDecision(v=version, wanted=wanted, at=datetime.now(UTC))
        self._store.put(
            self._bucket,
            self._key(job_id, "decision"),
            decision.model_dump_json(indent=2).encode(),
            content_type="application/json",
            if_none_match=etag is None,
            if_match=etag,
        )

    def _get(self, kind: type[M], job_id: str, name: str) -> M | None:
        try:
            return read(self._store, kind, self._bucket, self._key(job_id, name))
        except Missing:
            return None

    def _put(self, job_id: str, name: str, message: Message) -> None:
        self._store.put(
            self._bucket,
            self._key(job_id, name),
            message.model_dump_json(indent=2).encode(),
            content_type="application/json",
        )

    def _key(self, job_id: str, name: str) -> str:
        return f"{training_folder(self._prefix)}{job_id}/{name}.json"


def _check(job_id: str, decided: Decision) -> None:
    if decided == "cancel":
        raise Cancelled(f"training job {job_id} was cancelled")
    if decided == "pause":
        raise Paused(f"training job {job_id} was paused")


def _too_late(job_id: str) -> Reject:
    return Reject(
        f"training job {job_id} was cancelled",
        cure="Send it again: `jamak train`, with the same options.",
    )
