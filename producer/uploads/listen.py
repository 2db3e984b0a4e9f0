"""Uploads become jobs: long-poll SQS, enqueue jobs, and only then delete the events.

A listener killed at any point loses nothing: an event that was not deleted comes again, and its
second job finds the first one's record. Several may listen to one queue.
"""

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import BotoCoreError, ClientError

from producer.jobs.high_water_marks import HighWaterMarks
from producer.jobs.recipes import recipe_of
from producer.jobs.send import queue_of, send
from producer.uploads.events import S3Event, is_video_key, parse_notification, parts
from producer.uploads.lag import events_reading, seconds_since
from producer.uploads.latest import Latest
from producer.uploads.sqs import dead_letters_of, reaching_sqs, redrive_policy, sqs_client
from shared import telemetry
from shared.broker.leased_queues import LeasedQueues
from shared.broker.proofs import prove_broker
from shared.bucket.keys import is_output
from shared.bucket.neighbours import prove_reads
from shared.bucket.storage import ObjectStore
from shared.bucket.videos import video_of
from shared.errors import (
    BadMessage,
    ConfigError,
    Forbidden,
    JamakError,
    Missing,
    NoSuchBucket,
    StoreUnavailable,
)
from shared.messages import CaptionJob, Video
from shared.prefixes import lies_in
from shared.settings import Settings
from shared.signals import GRACE_S, end_on_signal
from shared.telemetry import tracing
from shared.telemetry.health import LoopHealth
from shared.telemetry.metrics import registry_of
from shared.telemetry.probes import serve
from shared.waiting import wait_for
from shared.watchdog import watch

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

WAIT_S = 20
"""Of one long poll; SQS allows no more."""
LOOK_AGAIN_S = 1.0
"""While the queue is full, or something is away."""
MANY = 1000
"""Deliveries, where a redrive policy does not say how many there are; SQS allows no more."""
REASON = "jamak-reason"
"""The message attribute of a dead letter."""

log = telemetry.get_logger("jamak.listen")


@dataclass
class Batch:
    """What one receive comes to."""

    jobs: list[CaptionJob] = field(default_factory=list)
    happened_s: list[float | None] = field(default_factory=list)
    """For each of them: when its event says that it did."""
    news: list[tuple[S3Event, str, str]] = field(default_factory=list)
    """Event, key and version, to be remembered once the jobs are sent."""
    handled: list["MessageTypeDef"] = field(default_factory=list)
    """To be deleted then."""
    buried: list["MessageTypeDef"] = field(default_factory=list)
    """To be deleted, whatever becomes of the others."""


class Listener:
    """Raises ConfigError: the queue is not there, or has no dead-letter queue.

    QueueUnavailable: SQS does not answer for now.
    """

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        sqs: "SQSClient",
        queues: LeasedQueues,
        health: LoopHealth,
    ) -> None:
        self._url = queue_url(settings)
        policy = redrive_policy(sqs, self._url)
        self._dead_letters = dead_letters_of(sqs, self._url, policy)
        self._most = int(policy.get("maxReceiveCount", MANY))
        self._settings, self._store, self._sqs, self._queues = settings, store, sqs, queues
        self._recipe = recipe_of(settings)
        self._queue = queue_of("t4", bulk=False)
        self._marks, self._latest = HighWaterMarks(queues), Latest()
        self.health = health
        self._stopping = threading.Event()
        self._waiting = False
        self._away: tuple[str, str] | None = None
        """Bucket and key that could not be read, as nothing beside it could."""

    def run(self) -> None:
        """Until it is told to stop."""
        log.info("listening", queue=self._url, dead_letters=self._dead_letters)
        ails = telemetry.Repeated(log, "polls again", quiet_s=0.0)
        wait_s = 0  # at first, so that it is soon known whether we may receive
        while not self._stopping.is_set():
            try:
                if not self._marks.has_room(self._queue):
                    self.health.worked()  # it waits for the workers
                    self._stopping.wait(LOOK_AGAIN_S)  # SQS keeps them
                    continue
                self._wait_for_the_store()
                # What is received and cannot be sent counts as a delivery, and after some of them
                # SQS buries it.
                self._queues.prove_writes(self._queue)
                self.poll(wait_s)
                self.health.worked()
                ails.worked()
                wait_s = WAIT_S
            except JamakError as error:
                self.health.failed(str(error))
                ails.failed(
                    "cannot poll; the events come again",
                    about=error.reason,
                    message=str(error),
                    cure=error.cure,
                )
                self._stopping.wait(LOOK_AGAIN_S)
            except Exception as error:
                self.health.failed(str(error))
                log.exception("could not poll; the events come again")
                self._stopping.wait(LOOK_AGAIN_S)

    def stop(self) -> float:
        """After the messages in hand; how many seconds they may take.

        While it waits for SQS, none: what that was about to hand over comes again.
        """
        self.health.ending()
        self._stopping.set()
        if not self._waiting:
            return GRACE_S
        tracing.stop()
        return 0.0

    def poll(self, wait_s: int) -> int:
        """Handle one batch of at most ten messages; how many there were.

        Raises:
            BrokerUnavailable, BrokerRefuses: what was received is handed back.
        """
        self._waiting = True
        try:
            with reaching_sqs(self._sqs, self._url):
                received = self._sqs.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=10,
                    WaitTimeSeconds=wait_s,
                    MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                ).get("Messages", [])
        finally:
            self._waiting = False
        for message in received:
            waited_s = seconds_since(message.get("Attributes", {}).get("SentTimestamp"))
            if waited_s is not None:
                telemetry.EVENT_WAIT.observe(waited_s)
        batch = Batch()
        for message in received:
            self.health.moved()
            self._read(message, batch)
        try:
            send(self._queues, self._queue, batch.jobs, batch.happened_s)
        except JamakError:
            self._delete(batch.buried)
            self._hand_back(batch.handled)
            raise
        for event, key, version in batch.news:
            self._latest.remember(event, key, version)
        self._delete([*batch.buried, *batch.handled])
        return len(received)

    def _read(self, message: "MessageTypeDef", batch: Batch) -> None:
        """Into the batch; what cannot be handled now stays in SQS, and blocks nothing."""
        last = int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)) >= self._most
        became = {self._read_part(body, batch, last) for body in parts(message.get("Body", ""))}
        if "again" not in became:
            (batch.buried if became == {"buried"} else batch.handled).append(message)

    def _read_part(
        self, body: str, batch: Batch, last: bool
    ) -> Literal["taken", "buried", "again"]:
        """Args:
        last: it does not come again: it is buried here, for SQS would say no reason.
        """
        try:
            for event in parse_notification(body):
                outcome = self._take(event, batch)
                telemetry.EVENTS.labels(outcome).inc()
                log.debug("event", key=f"s3://{event.bucket}/{event.key}", outcome=outcome)
        except BadMessage as error:
            telemetry.EVENTS.labels("malformed").inc()
            log.error("malformed event", message=str(error), body=body[:500])
            return self._bury(body, str(error))
        except JamakError as error:
            telemetry.EVENTS.labels(error.reason).inc()
            log.error("cannot take an event", message=str(error), cure=error.cure, last=last)
            if isinstance(error, StoreUnavailable | ConfigError) and self._is_away(error):
                return "again"
            ours = isinstance(error, Forbidden | StoreUnavailable | ConfigError)
            if ours and not last:
                return "again"
            return self._bury(body, f"{error.reason}: {error}")
        except Exception as error:
            telemetry.EVENTS.labels("internal_error").inc()
            log.exception("cannot take an event", body=body[:500], last=last)
            return self._bury(body, f"{type(error).__name__}: {error}") if last else "again"
        return "taken"

    def _is_away(self, error: JamakError) -> bool:
        """Whether it is no matter of this event alone. Then nothing more is received until the
        bucket answers: after some more tries SQS would bury what is healthy."""
        if error.place is None:
            return True
        try:
            prove_reads(self._store, *error.place, self.health.moved)
        except JamakError:
            self._away = error.place
        return self._away is not None

    def _wait_for_the_store(self) -> None:
        """Raises StoreUnavailable, ConfigError: what could not be read still cannot."""
        if self._away is not None:
            prove_reads(self._store, *self._away, self.health.moved)
            self._away = None

    def _take(self, event: S3Event, batch: Batch) -> str:
        """What became of it. Raises JamakError: the bucket has to be asked, and does not answer."""
        if event.kind == "other":
            return "not_an_upload"
        if is_output(self._settings, event.bucket, event.key):
            return "own_output"
        if not any(is_video_key(key, self._settings.video_suffixes) for key in event.keys):
            return "not_a_video"
        if not is_source(self._settings, event.bucket, event.keys):
            return "not_a_source"
        if event.kind in ("restored", "version_removed"):
            return self._take_what_is_there(event, batch)
        if event.kind == "removed":
            # An upload's event may come after its deletion's.
            batch.news += [(event, key, "") for key in event.keys]
            return "removed"
        video = self._video(event)
        if video is None:
            return "gone"
        verdict = self._latest.verdict(event, video.key, video.video8)
        if verdict == "unordered":
            return self._take_what_is_there(event, batch)
        return self._enqueue(event, video, batch) if verdict == "news" else verdict

    def _take_what_is_there(self, event: S3Event, batch: Batch) -> str:
        """The event does not say what the bucket holds now: an older content again, perhaps."""
        current = self._current(event.bucket, event.keys)
        if current is None:
            batch.news += [(event, key, "") for key in event.keys]
            return "gone"
        known = self._latest.content(event.bucket, current.key) == current.video8
        # The job of what was restored could not read it; and of what was removed another listener
        # may have heard, so that its caption is shown.
        if known and event.kind not in ("restored", "version_removed"):
            return "stale"
        return self._enqueue(event, current, batch)

    def _enqueue(self, event: S3Event, video: Video, batch: Batch) -> str:
        if self._is_first(batch, event, video):
            batch.jobs.append(CaptionJob(video=video, recipe=self._recipe))
            batch.happened_s.append(event.at_s)
            batch.news.append((event, video.key, video.video8))
            return "enqueued"
        return "duplicate"

    def _is_first(self, batch: Batch, event: S3Event, video: Video) -> bool:
        """Of this content, among those of its key received together, since another one came."""
        where = event.bucket, video.key
        seen = [version for one, key, version in batch.news if (one.bucket, key) == where]
        return seen[-1:] != [video.video8]

    def _video(self, event: S3Event) -> Video | None:
        """From the event, where it says all; else from the bucket. None: it is not there."""
        if len(event.keys) == 1 and event.etag and event.size_bytes is not None:
            return Video(
                bucket=event.bucket,
                key=event.key,
                etag=event.etag,
                size_bytes=event.size_bytes,
                version_id=event.version_id,
            )
        return self._current(event.bucket, event.keys)

    def _current(self, bucket: str, keys: Iterable[str]) -> Video | None:
        """What the bucket holds now under the first of these keys that is there."""
        for key in keys:
            with suppress(Missing, NoSuchBucket):
                return video_of(self._store.head(bucket, key))
        return None

    def _bury(self, body: str, reason: str) -> Literal["buried", "again"]:
        """To the dead letters, with the reason. `again`: SQS does it, after some more tries."""
        try:
            self._sqs.send_message(
                QueueUrl=self._dead_letters,
                MessageBody=body.encode(errors="backslashreplace").decode(),
                MessageAttributes={
                    REASON: {"DataType": "String", "StringValue": ascii(reason)[:250]}
                },
            )
        except (ClientError, BotoCoreError) as error:
            log.error("cannot write to the dead letters", message=str(error))
            return "again"
        return "buried"

    def _hand_back(self, messages: Iterable["MessageTypeDef"]) -> None:
        """To whoever listens, at once: else they are hidden for a visibility timeout."""
        entries = [
            {"Id": str(i), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
            for i, message in enumerate(messages)
        ]
        if not entries:
            return
        with suppress(ClientError, BotoCoreError):  # then they come back after that timeout
            self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]

    def _delete(self, messages: Iterable["MessageTypeDef"]) -> None:
        entries = [
            {"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]}
            for i, message in enumerate(messages)
        ]
        if not entries:
            return
        with reaching_sqs(self._sqs, self._url):
            done = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]
        for failed in done.get("Failed", ()):
            log.warning("an event was not deleted and comes again", code=failed.get("Code"))


def is_source(settings: Settings, bucket: str, keys: Iterable[str]) -> bool:
    if not settings.sources:
        return True
    return any(lies_in(f"s3://{bucket}/{key}", one) for one in settings.sources for key in keys)


def queue_url(settings: Settings) -> str:
    if not settings.events_queue_url:
        raise ConfigError(
            "JAMAK_EVENTS_QUEUE_URL is not set",
            cure="Set it to the URL of the SQS queue with the bucket's notifications.",
        )
    return settings.events_queue_url


def listen_until_stopped(settings: Settings, store: ObjectStore, queues: LeasedQueues) -> None:
    """Until SIGTERM or SIGINT. Waits for what is not there yet.

    Raises:
        KeyboardInterrupt: after SIGINT, when all is in order.
        ConfigError: it cannot work like this.
    """
    url = queue_url(settings)  # before the region is asked for
    sqs, health = sqs_client(), LoopHealth()
    listener: Listener | None = None
    interrupted = end_on_signal(lambda: listener.stop() if listener else 0.0)
    readings = events_reading(sqs, url, cache(partial(dead_letters_of, sqs, url)))
    registry = registry_of("listener", *readings)
    serve(health, registry, settings.metrics_host, settings.metrics_port)
    watch(health.live)
    wait_for("Redis", partial(prove_broker, queues))
    listener = wait_for("SQS", lambda: Listener(settings, store, sqs, queues, health))
    listener.run()
    if interrupted():
        raise KeyboardInterrupt
