"""Events become jobs: how fast, and whether the listener can be fooled.

    python -m benchmarks.ingest [--json] [--quick] [--events N] [--rounds N]

Three parts. Bodies of every shape, parsed and put on a real Redis by the real listener, with an SQS
that hands them out from memory. The listener on a real SQS API beside a bare loop that receives
and deletes; interleaved rounds, the ratio is of the CPU seconds of the process. And a stream of
events with duplicates, stragglers and malformed ones, through `jamak listen` that is killed again
and again: each video must have one record, each malformed event must be among the dead letters.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from benchmarks.enqueue import ROOT, Stack
from benchmarks.programs import begin, parser_of
from infra.local.processes import Process, stop
from infra.local.s3 import DEAD_LETTERS, OUTPUT_BUCKET
from producer.uploads.listen import Listener
from shared import telemetry
from shared.broker.apps import caption_prefix, leased_queues
from shared.bucket.keys import record_key
from shared.errors import Conflict
from shared.messages import CaptionJob, decode

SHAPES = ("sqs", "sns", "eventbridge", "minio", "ceph")
QUEUE = "caption.t4"
DUPLICATES, STRAGGLERS, MALFORMED, KILLS = 0.2, 0.1, 0.05, 3
QUICK_KILLS = 1
OLDER = "f" * 32
"""The ETag of what a straggler is about."""
AT_ONCE = 100
"""Events on their way."""
SETTLE_S = 60.0


def body_of(shape: str, key: str, etag: str, sequencer: int) -> str:
    """A notification as this sender writes it."""
    told = {"size": 1, "sequencer": f"{sequencer:016X}"}
    if shape == "eventbridge":
        detail = {"bucket": {"name": "videos"}, "object": {"key": key, "etag": etag, **told}}
        return json.dumps(
            {"version": "0", "detail-type": "Object Created", "source": "aws.s3", "detail": detail}
        )
    source = {"minio": "minio:s3", "ceph": "ceph:s3"}.get(shape, "aws:s3")
    name = "s3:ObjectCreated:Put" if shape == "minio" else "ObjectCreated:Put"
    entity = {
        "s3SchemaVersion": "1.0",
        "bucket": {"name": "videos", "arn": "arn:aws:s3:::videos"},
        "object": {"key": key if shape == "ceph" else quote_plus(key), "eTag": etag, **told},
    }
    record = {"eventVersion": "2.1", "eventSource": source, "eventName": name, "s3": entity}
    body = json.dumps({"Records": [record]})
    return json.dumps({"Type": "Notification", "Message": body}) if shape == "sns" else body


def key_of(shape: str, number: int) -> str:
    """MinIO's encoded keys could be raw ones; that has the bucket asked, so here they are plain."""
    return f"film-{number:07}.mp4" if shape == "minio" else f"2026/11/필름 {number:07}+.mp4"


def bodies(count: int) -> list[str]:
    """Of all shapes in turn, each of a video of its own."""
    shapes = [SHAPES[i % len(SHAPES)] for i in range(count)]
    return [body_of(shape, key_of(shape, i), f"{i:032x}", i) for i, shape in enumerate(shapes)]


class MemorySqs:
    """Hands out bodies ten at a time, and forgets them when they are deleted."""

    def __init__(self, given: list[str]) -> None:
        self._left = given[::-1]

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        policy = {"deadLetterTargetArn": "arn:aws:sqs:here:0:dead"}
        return {"Attributes": {"RedrivePolicy": json.dumps(policy)}}

    def get_queue_url(self, **_: Any) -> dict[str, str]:
        return {"QueueUrl": "memory://dead"}

    def receive_message(self, **_: Any) -> dict[str, Any]:
        some = [self._left.pop() for _ in range(min(10, len(self._left)))]
        return {"Messages": [{"Body": body, "ReceiptHandle": "r"} for body in some]}

    def delete_message_batch(self, **_: Any) -> dict[str, Any]:
        return {}


def parse_speed(stack: Stack, count: int) -> float:
    """Events a second: body -> job -> Redis."""
    queues = leased_queues(stack.settings, caption_prefix(stack.settings))
    sqs = MemorySqs(bodies(count))
    one = Listener(stack.settings, stack.store, sqs, queues)  # type: ignore[arg-type]
    started = time.perf_counter()
    while one.poll(0):
        pass
    seconds = time.perf_counter() - started
    assert stack.client.llen(f"jamak:{QUEUE}") == count
    stack.client.flushdb()
    return count / seconds


def fill(url: str, given: list[str]) -> None:
    sqs = boto3.client("sqs")
    for start in range(0, len(given), 10):
        entries = [
            {"Id": str(i), "MessageBody": body} for i, body in enumerate(given[start : start + 10])
        ]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)


def bare(url: str) -> int:
    """What every consumer of SQS does at least."""
    sqs, count = boto3.client("sqs"), 0
    while received := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        entries = [
            {"Id": str(i), "ReceiptHandle": one["ReceiptHandle"]} for i, one in enumerate(received)
        ]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        count += len(received)
    return count


def compare(stack: Stack, count: int, rounds: int, bars: Bars) -> dict[str, float]:
    """The listener against the bare loop, on the same queue."""
    url = stack.s3.queue_url
    queues = leased_queues(stack.settings, caption_prefix(stack.settings))
    bar = bars.add_task("end to end", total=rounds)
    bare(url)  # the event with which S3 tests a notification
    cpu_ratios, wall_ratios = [], []
    for _ in range(rounds):
        fill(url, bodies(count))
        cpu, wall = time.process_time(), time.perf_counter()
        handled = bare(url)
        bare_cpu, bare_wall = time.process_time() - cpu, time.perf_counter() - wall
        assert handled == count
        fill(url, bodies(count))
        one = Listener(stack.settings, stack.store, boto3.client("sqs"), queues)
        cpu, wall = time.process_time(), time.perf_counter()
        while one.poll(0):
            pass
        our_cpu, our_wall = time.process_time() - cpu, time.perf_counter() - wall
        assert stack.client.llen(f"jamak:{QUEUE}") == count
        stack.client.flushdb()
        cpu_ratios.append(bare_cpu / our_cpu)
        wall_ratios.append(bare_wall / our_wall)
        bars.advance(bar)
    return {
        "end_to_end_ratio": round(statistics.median(cpu_ratios), 3),
        "end_to_end_ratio_least": round(min(cpu_ratios), 3),
        "end_to_end_ratio_most": round(max(cpu_ratios), 3),
        "end_to_end_wall_ratio": round(statistics.median(wall_ratios), 3),
    }


def stream(count: int, dice: random.Random) -> tuple[list[str], set[str]]:
    """A stream of about so many events that goes wrong in every way; the keys of its videos."""
    own = round(count * (1 - DUPLICATES - STRAGGLERS - MALFORMED))
    told = []
    for i in range(own):
        shape = dice.choice(SHAPES)
        told.append((shape, key_of(shape, i), f"{i:032x}", 2 * i + 1))
    events = [body_of(*one) for one in told]
    for shape, key, etag, sequencer in dice.choices(told, k=round(count * DUPLICATES)):
        events.append(body_of(shape, key, etag, sequencer))
    dice.shuffle(events)
    etags = {key: etag for _, key, etag, _ in told}
    # The event of an older version of the same key comes after the newer one's.
    for shape, key, _, sequencer in dice.sample(told, round(count * STRAGGLERS)):
        late = body_of(shape, key, OLDER, sequencer - 1)
        own = body_of(shape, key, etags[key], sequencer)
        after = events.index(own)
        events.insert(dice.randint(after + 1, min(len(events), after + 40)), late)
    for _ in range(round(count * MALFORMED)):
        broken = dice.choice(["{", '{"Records": [{}]}', '{"Records": 5}', "영상", "null"])
        events.insert(dice.randrange(len(events)), broken)
    return events, {key for _, key, _, _ in told}


class Scribe(threading.Thread):
    """A worker that writes a record for each job, and nothing else."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack, self.stopping = stack, threading.Event()
        self.jobs: Counter[tuple[str, str]] = Counter()
        """(key, etag) -> how many jobs came."""

    def run(self) -> None:
        stack = self._stack
        queues = leased_queues(stack.settings, caption_prefix(stack.settings))
        while not self.stopping.is_set():
            delivery = queues.take(queues.new_lease(), [QUEUE])
            if delivery is None:
                time.sleep(0.02)
                continue
            args, _, _ = json.loads(json.loads(delivery.message)["body"])
            job = decode(CaptionJob, args[0])
            self.jobs[job.video.key, job.video.etag] += 1
            key = record_key("", job)
            with suppress(Conflict):  # it is there
                stack.store.put(OUTPUT_BUCKET, key, b"{}", if_none_match=True)
            queues.ack([delivery.lease])


def fooled(stack: Stack, count: int, kills: int, bars: Bars) -> dict[str, int]:
    dice = random.Random(2026)  # noqa: S311
    events, keys = stream(count, dice)
    s3 = stack.s3.s3()
    s3.put_bucket_versioning(Bucket=OUTPUT_BUCKET, VersioningConfiguration={"Status": "Enabled"})
    url, sqs = stack.s3.queue_url, boto3.client("sqs")
    # A listener's events come back when it is killed, soon instead of in half a minute.
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "5"})
    scribe = Scribe(stack)
    scribe.start()
    bar = bars.add_task("fooling it", total=len(events))
    moments = sorted(dice.uniform(0.1, 0.8) for _ in range(kills))
    listener = listen(stack, 0)
    # As uploads come; the stand-in for SQS is slow with thousands of messages.
    for start in range(0, len(events), AT_ONCE):
        fill(url, events[start : start + AT_ONCE])
        bars.update(bar, completed=start)
        if moments and start >= len(events) * moments[0]:
            moments.pop(0)
            listener.kill()
            listener = listen(stack, kills - len(moments))
        while remaining(sqs, url) > AT_ONCE:
            listener.check()
            time.sleep(0.1)
    deadline = time.monotonic() + SETTLE_S
    while remaining(sqs, url) and time.monotonic() < deadline:
        time.sleep(0.2)
    while stack.client.llen(f"jamak:{QUEUE}") or stack.client.hlen("jamak:unacked"):
        time.sleep(0.1)
    scribe.stopping.set()
    scribe.join()
    stop([listener])
    versions: Counter[str] = Counter()
    for page in s3.get_paginator("list_object_versions").paginate(
        Bucket=OUTPUT_BUCKET, Prefix="records/"
    ):
        versions.update(one["Key"] for one in page.get("Versions", []))
    current = {key for key, etag in scribe.jobs if etag != OLDER}
    dead = sqs.get_queue_attributes(
        QueueUrl=sqs.get_queue_url(QueueName=DEAD_LETTERS)["QueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages"],
    )["Attributes"]["ApproximateNumberOfMessages"]
    return {
        "events": len(events),
        "videos": len(keys),
        "records": sum(1 for key in current & keys),
        "duplicates_published": sum(times > 1 for times in versions.values()),
        "jobs_twice": sum(times > 1 for times in scribe.jobs.values()),
        "stragglers_let_through": sum(etag == OLDER for _, etag in scribe.jobs),
        "malformed": round(count * MALFORMED),
        "dead_lettered": int(dead),
        "left_in_sqs": remaining(sqs, url),
        "listener_kills": kills - len(moments),
    }


def listen(stack: Stack, number: int) -> Process:
    return Process(
        f"listener {number}",
        stack.command("producer.cli", "listen"),
        log=stack.folder / f"listen-{number}.log",
        env={
            **os.environ,
            "JAMAK_EVENTS_QUEUE_URL": stack.s3.queue_url,
            "JAMAK_LOG_LEVEL": "warning",
        },
        cwd=ROOT,
    )


def remaining(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(value) for value in found.values())


def main() -> None:
    parser = parser_of("ingest", __doc__, quick="small numbers: seconds")
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = begin(parser)
    telemetry.configure_logging("warning")
    quick = arguments.quick
    with (
        tempfile.TemporaryDirectory(prefix="jamak-ingest-") as folder,
        Bars(console=Console(stderr=True)) as bars,
    ):
        stack = Stack(Path(folder))
        os.environ["JAMAK_EVENTS_QUEUE_URL"] = stack.s3.queue_url
        stack.reload()
        try:
            speeds = [parse_speed(stack, 500 if quick else 5000) for _ in range(1 if quick else 5)]
            found: dict[str, Any] = {"parse_per_s": round(statistics.median(speeds))}
            found |= compare(stack, 50 if quick else 300, 1 if quick else arguments.rounds, bars)
            found |= fooled(
                stack,
                200 if quick else arguments.events,
                QUICK_KILLS if quick else KILLS,
                bars,
            )
        finally:
            stack.close()
    grid = Table(show_header=False)
    for name, value in found.items():
        grid.add_row(name.replace("_", " "), f"{value:,}")
    Console(file=sys.stdout).print(grid)
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
