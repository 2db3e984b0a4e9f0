"""The fleet that falls ill: listener, feeder, three captioners and a trainer of the Procfile, on
servers of our own behind fronts; whoever ends is started again, as an orchestrator does.

Knows how to give work and what came of it. What makes it ill is in `sickness_cases`.
"""

import json
import math
import os
import shlex
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from pydantic import SecretStr

from benchmarks.sickness_fronts import HttpFront, TcpFront
from benchmarks.sickness_members import Member, check_memory
from infra.demo.budgets import TAKE
from infra.demo.clips import Clip, film
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT, read_procfile
from infra.local.redis import RedisServer, begin_redis, start_redis
from infra.local.s3 import DEAD_LETTERS, OUTPUT_BUCKET, REGION, VIDEOS_BUCKET, S3Server, start_s3
from infra.local.stack import DEMO_MODEL
from producer.backlog.manifest import Backlog, Manifest
from producer.jobs.recipes import recipe_of
from producer.jobs.send import messages
from shared.broker.apps import TRAIN_QUEUE, TRAIN_TASK, caption_prefix, leased_queues, train_app
from shared.bucket.keys import recipes_folder
from shared.bucket.storage import ObjectStore
from shared.bucket.training import TrainingRecords
from shared.messages import CaptionJob, Video
from shared.settings import Settings
from shared.training import TrainJob

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ARCHIVE_BUCKET = "jamak-archive"
"""Backlogs come from here: its uploads are nobody's events."""
VISIBILITY_TIMEOUT_S = 6.0
START_S = 180.0
LOOK_S = 0.2


@dataclass
class Outcome:
    """What the bucket holds for the jobs of one case."""

    records: Counter[str]
    """Key of the video -> how often its record was written."""
    failures: set[str]


class Fleet:
    """`with Fleet(folder, captioners=3) as fleet:`"""

    def __init__(
        self,
        folder: Path,
        captioners: int,
        others: Sequence[str] = ("listener", "feeder", "trainer"),
    ) -> None:
        self.folder, self._captioners, self._others = folder, captioners, others
        self.members: dict[str, Member] = {}
        self._films: list[bytes] = []
        self._before: list[RedisServer] = []
        self.until = math.inf
        """Nothing is waited for any longer (by `time.monotonic`)."""

    def __enter__(self) -> "Fleet":
        self.s3: S3Server = start_s3(self.folder / "s3")
        self.redis: RedisServer = start_redis(self.folder / "redis")
        self.redis_front, self.s3_front = TcpFront(self.redis.port), HttpFront(self.s3.port)
        self.admin = self.client_of(self.redis)
        bucket = self.bucket
        bucket.create_bucket(Bucket=ARCHIVE_BUCKET)
        bucket.put_bucket_versioning(
            Bucket=OUTPUT_BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.process.signal_group(signal.SIGCONT)
        stop(self._processes())
        self.redis_front.close()
        self.s3_front.close()
        for server in (self.redis, *self._before):
            server.stop()
        self.s3.stop()

    # Who is in it.

    @property
    def captioners(self) -> list[Member]:
        return [one for name, one in self.members.items() if name.startswith("captioner")]

    def tend(self) -> None:
        """Raises TooMuchMemory: rather than that it takes the whole machine."""
        for member in self.members.values():
            member.tend()
        for process in (self.s3.process, self.redis.process, *self._processes()):
            check_memory(process)

    def _processes(self) -> list[Process]:
        return [member.process for member in self.members.values()]

    def wait(self, wanted: Callable[[], bool], seconds: float) -> bool:
        """Whether it came true in that time, and before `until`; who ends meanwhile is started
        again.
        """
        until = min(time.monotonic() + seconds, self.until)
        while not wanted():
            if time.monotonic() > until:
                return False
            self.tend()
            time.sleep(LOOK_S)
        return True

    def all_ready(self) -> bool:
        return all(member.ready for member in self.members.values())

    def client_of(self, server: RedisServer) -> "redis.Redis":
        return redis.Redis.from_url(server.url, socket_timeout=30)

    @property
    def bucket(self) -> "S3Client":
        """Past the front."""
        if not hasattr(self, "_bucket"):
            self._bucket = self.s3.s3()
        return self._bucket

    def env(self) -> dict[str, str]:
        """Through the fronts."""
        front = RedisServer(self.redis.process, self.redis_front.port, self.redis.password)
        return {
            **self.s3.env,
            "AWS_ENDPOINT_URL": self.s3_front.endpoint,
            "JAMAK_REDIS_URL": front.url,
            "JAMAK_OUTPUT": f"s3://{OUTPUT_BUCKET}/",
            "JAMAK_EVENTS_QUEUE_URL": self.s3.queue_url,
            "JAMAK_MODEL": "jamak/demo-llama",
            "JAMAK_MODEL_REVISION": "1",
            "JAMAK_MODEL_PATH": str(DEMO_MODEL),
            "JAMAK_MAX_NEW_TOKENS": "48",
            "JAMAK_CARD": "t4",
            "JAMAK_DEVICE": "cpu",
            "JAMAK_ADAPTER_POLL_S": "1",
            "JAMAK_VISIBILITY_TIMEOUT_S": str(VISIBILITY_TIMEOUT_S),
            "JAMAK_DRAIN_S": "3",
        }

    def _environ(self) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("JAMAK_", "AWS_"))}
        return {
            **ours,
            **self.env(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "no_proxy": LOOPBACK,
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "HF_HUB_OFFLINE": "1",
        }

    def _start(self) -> None:
        names = [*self._others, *(f"captioner-{i + 1}" for i in range(self._captioners))]
        for name in names:
            self.members[name] = self._member(name, self._environ())
        self.settings = Settings(
            redis_url=SecretStr(self.redis.url),
            output=f"s3://{OUTPUT_BUCKET}/",
            model="jamak/demo-llama",
            model_revision="1",
            max_new_tokens=48,
        )
        self.queues = leased_queues(self.settings, caption_prefix(self.settings))
        self.recipe = recipe_of(self.settings)
        os.environ.update(self.s3.env)
        self.store = ObjectStore()
        self._make_films()
        for member in self.members.values():
            member.process.wait_until(lambda one=member: one.ready, START_S)  # type: ignore[misc]

    def _make_films(self) -> None:
        for seed in range(4):
            path = film(TAKE.scene, Clip(seed, duration_s=1.0), self.folder / f"film-{seed}")
            self._films.append(path.read_bytes())

    def _member(self, name: str, base: dict[str, str]) -> Member:
        port, scratch = free_port(), self.folder / "scratch" / name
        scratch.mkdir(parents=True)
        line = read_procfile()[name.partition("-")[0]].removeprefix("exec ")
        starts = 0

        def start() -> Process:
            nonlocal starts
            starts += 1
            return Process(
                name,
                shlex.split(line),
                log=self.folder / "logs" / f"{name}-{starts}.log",
                env={
                    **base,
                    "JAMAK_METRICS_PORT": str(port),
                    "JAMAK_SCRATCH_DIR": str(scratch),
                    "TMPDIR": str(self.folder),
                },
                cwd=ROOT,
            )

        return Member(name, port, start, start(), scratch)

    # Work.

    def film(self, number: int) -> bytes:
        return self._films[number % len(self._films)]

    def upload(self, case: str, numbers: range, bucket: str = VIDEOS_BUCKET) -> list[str]:
        """The keys. In the bucket of videos each is an event."""
        keys = [f"{case}/{number:03}.mp4" for number in numbers]
        for key, number in zip(keys, numbers, strict=True):
            self.bucket.put_object(Bucket=bucket, Key=key, Body=self.film(number))
        return keys

    def backlog(self, case: str, count: int) -> list[str]:
        """Of so many videos, as a scan leaves it; their keys. None where nobody feeds it."""
        if "feeder" not in self._others:
            return []
        keys = self.upload(f"{case}-backlog", range(count), ARCHIVE_BUCKET)
        videos = []
        for key in keys:
            told = self.bucket.head_object(Bucket=ARCHIVE_BUCKET, Key=key)
            videos.append(
                Video(
                    bucket=ARCHIVE_BUCKET,
                    key=key,
                    etag=told["ETag"].strip('"'),
                    size_bytes=told["ContentLength"],
                )
            )
        backlog = Backlog(self.store, self.settings, case)
        manifest = Manifest(
            name=case,
            source=f"s3://{ARCHIVE_BUCKET}/{case}-backlog/",
            recipe=self.recipe,
            card="t4",
            created_at=datetime.now(UTC),
        )
        backlog.create(manifest)
        backlog.write_shard(0, videos)
        _, etag = backlog.manifest()
        backlog.save(manifest.model_copy(update={"lines": count, "scanned": True}), etag)
        return keys

    def outcome(self, case: str) -> Outcome:
        """Of all its videos, those of its backlog included.

        How often a record was written is counted at the front. The versions in the bucket say it,
        too, but moto copies all that it holds for each list of versions, and keeps the copies.
        """
        written = Counter(self.s3_front.written)
        records: Counter[str] = Counter()
        for name, key in self._held("records", case):
            records[name] += written[f"{OUTPUT_BUCKET}/{key}"]
        return Outcome(records, {name for name, _ in self._held("failures", case)})

    def _held(self, kind: str, case: str) -> Iterator[tuple[str, str]]:
        """The key of each video that the bucket holds one for, and that one's own key."""
        for bucket in (VIDEOS_BUCKET, ARCHIVE_BUCKET):
            folder = f"{recipes_folder('', kind, bucket)}{self.recipe.id}/"
            for key in self._keys(f"{folder}{case}"):
                yield key.removeprefix(folder).rsplit(".", 2)[0], key  # key.video8.json

    def _keys(self, prefix: str) -> Iterator[str]:
        pages = self.bucket.get_paginator("list_objects_v2")
        for told in pages.paginate(Bucket=OUTPUT_BUCKET, Prefix=prefix):
            yield from (one["Key"] for one in told.get("Contents", []))

    # What is planted, and where it ends.

    def newer_job(self, key: str) -> str:
        """A message of a release that comes, for a video of the archive."""
        video = Video(bucket=ARCHIVE_BUCKET, key=key, etag="0" * 32, size_bytes=1)
        (message,) = messages([CaptionJob(video=video, recipe=self.recipe)])
        envelope = json.loads(message)
        (job,), *rest = json.loads(envelope["body"])
        body = [[{**job, "v": 99, "of_the_future": True}], *rest]
        return json.dumps({**envelope, "body": json.dumps(body)})

    def newer_jobs_waiting(self) -> int:
        """Of those of `newer_job`, wherever Redis has them."""
        found = 0
        for key in self.admin.keys(f"{self.queues.prefix}*"):
            kind = self.admin.type(key)
            read = {
                b"list": lambda one: self.admin.lrange(one, 0, -1),
                b"zset": lambda one: self.admin.zrange(one, 0, -1),
                b"hash": lambda one: self.admin.hvals(one),
            }.get(kind)
            if read:
                found += sum(b"of_the_future" in item for item in read(key))
        return found

    def train(self, data: str) -> str:
        """Ask for a training; the id of its job."""
        job = TrainJob(
            id=f"sick-{time.monotonic_ns()}",
            data=data,
            model=self.recipe.model,
            revision=self.recipe.revision,
            prompt=self.recipe.prompt,
        )
        app = train_app(self.settings)
        app.send_task(
            TRAIN_TASK, args=(job.model_dump(mode="json"),), queue=TRAIN_QUEUE, task_id=job.id
        )
        return job.id

    def training_ended(self, job: str) -> bool:
        return TrainingRecords(self.store, OUTPUT_BUCKET, "").outcome(job) is not None

    def adapter_pointer(self) -> str:
        """The key of the active adapter's pointer."""
        records = self.bucket.list_objects_v2(Bucket=OUTPUT_BUCKET, Prefix="records/", MaxKeys=1)
        record = json.loads(self.output(records["Contents"][0]["Key"]))
        return f"adapters/{record['model']['weights_sha256'][:12]}/active.json"

    def dead_letters(self) -> int:
        sqs = self.s3.sqs()
        told = sqs.get_queue_attributes(
            QueueUrl=sqs.get_queue_url(QueueName=DEAD_LETTERS)["QueueUrl"],
            AttributeNames=["ApproximateNumberOfMessages"],
        )
        return int(told["Attributes"]["ApproximateNumberOfMessages"])

    def tell(self, body: str) -> None:
        """An event, as it comes from a queue."""
        self.s3.sqs().send_message(QueueUrl=self.s3.queue_url, MessageBody=body)

    def output(self, key: str) -> bytes:
        return self.bucket.get_object(Bucket=OUTPUT_BUCKET, Key=key)["Body"].read()

    def put_output(self, key: str, body: bytes) -> None:
        self.bucket.put_object(Bucket=OUTPUT_BUCKET, Key=key, Body=body)

    def swap_redis(self, server: RedisServer) -> None:
        """This one is the fleet's from now on; connections to the one before stay open."""
        self._before.append(self.redis)
        self.redis, self.admin = server, self.client_of(server)
        self.redis_front.target = server.port
        if hasattr(self, "queues"):
            self.settings = self.settings.model_copy(update={"redis_url": SecretStr(server.url)})
            self.queues = leased_queues(self.settings, caption_prefix(self.settings))

    def begin_redis(self, *options: str) -> None:
        """The one that has ended, without waiting until it answers."""
        folder = Path(self.redis.process.log).parent
        self.redis = begin_redis(folder, self.redis.port, self.redis.password, *options)

    def restart_redis(self) -> None:
        self.redis = start_redis(
            Path(self.redis.process.log).parent, port=self.redis.port, password=self.redis.password
        )

    def remove_tree(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)

    def event(self, key: str, bucket: str = VIDEOS_BUCKET) -> Any:
        """One record of a notification, a dict."""
        return {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": REGION,
            "eventTime": datetime.now(UTC).isoformat(),
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                "object": {"key": key, "size": 1, "eTag": "0" * 32, "sequencer": "00"},
            },
        }
