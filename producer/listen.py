"""Uploads become jobs: long-poll the SQS queue, enqueue, and only then delete the event.

A listener killed at any point loses nothing: an event that was not deleted comes again, and its
second job finds the first one's record.
"""

import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from celery import Celery
from prometheus_client import start_http_server

from producer.enqueue import enqueue, recipe_of
from producer.events import S3Event, is_video_key, parse_notification
from shared import telemetry
from shared.errors import BadMessage, BrokerUnavailable, ConfigError, Forbidden, Missing
from shared.settings import Settings
from shared.storage import ObjectStore, sqs_client
from shared.videos import video_of

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

WAIT_S = 20
"""Of one long poll; SQS allows no more."""

log = telemetry.get_logger("jamak.listen")


class _Stopped(BaseException):
    """Leaves a long poll. What SQS was about to hand over comes again."""


class Listener:
    def __init__(
        self, settings: Settings, store: ObjectStore, sqs: "SQSClient", app: Celery
    ) -> None:
        if not settings.events_queue_url:
            raise ConfigError(
                "JAMAK_EVENTS_QUEUE_URL is not set",
                cure="Set it to the URL of the SQS queue with the bucket's notifications.",
            )
        self._url = settings.events_queue_url
        self._settings, self._store, self._sqs, self._app = settings, store, sqs, app
        self._recipe = recipe_of(settings)
        self._stopping = threading.Event()
        self._waiting = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if self._settings.metrics_port:
            start_http_server(self._settings.metrics_port, addr=self._settings.metrics_host)
        log.info("listening", queue=self._url)
        with suppress(_Stopped):
            while not self._stopping.is_set():
                try:
                    self.poll(WAIT_S)
                except Exception:
                    log.exception("could not poll; the events come again")
                    self._stopping.wait(5)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """At once while waiting; otherwise after the messages in hand."""
        self._stopping.set()
        if self._waiting:
            raise _Stopped

    def poll(self, wait_s: int) -> int:
        """Handle one batch of at most ten messages; how many there were."""
        self._waiting = True
        try:
            received = self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s
            ).get("Messages", [])
        finally:
            self._waiting = False
        for message in received:
            try:
                if self._handle(message.get("Body", "")):
                    self._sqs.delete_message(
                        QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"]
                    )
            except BrokerUnavailable:
                raise  # the others would fare no better, and each receive counts
            except Exception:
                log.exception("could not take an event; it comes again")
        return len(received)

    def _handle(self, body: str) -> bool:
        """False: leave it in SQS, whose redrive policy moves it to the dead-letter queue."""
        try:
            for event in parse_notification(body):
                outcome = self._take(event)
                telemetry.EVENTS.labels(outcome).inc()
                log.info("event", key=f"s3://{event.bucket}/{event.key}", outcome=outcome)
        except BadMessage as error:
            telemetry.EVENTS.labels("malformed").inc()
            log.error("malformed event", message=str(error), body=body[:500])
            return False
        return True

    def _take(self, event: S3Event) -> str:
        if event.kind != "created":
            return "not_an_upload"
        if is_output(self._settings, event.bucket, event.key):
            return "own_output"
        if not is_video_key(event.key, self._settings.video_suffixes):
            return "not_a_video"
        try:
            # The event's own etag and size may be of a version that is gone by now.
            info = self._store.head(event.bucket, event.key)
        except Missing:
            return "gone"
        except Forbidden as error:
            log.error("cannot read an uploaded video", message=str(error), cure=error.cure)
            raise
        done = enqueue(self._app, self._store, self._settings, [video_of(info)], self._recipe)
        return "enqueued" if done.enqueued else "already_captioned"


def is_output(settings: Settings, bucket: str, key: str) -> bool:
    """Captions never trigger captions."""
    return bucket == settings.output_bucket and key.startswith(settings.output_prefix)


def listener_of(settings: Settings, app: Any) -> Listener:
    return Listener(settings, ObjectStore(), sqs_client(), app)
