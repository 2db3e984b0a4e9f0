"""What an integration test has to itself: two buckets, a Redis prefix, and readers of both."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import boto3
import pytest
import redis
from celery import Celery

from producer.jobs.send import queue_of, send
from shared.broker.apps import caption_app, queues_of, train_app
from shared.broker.leased_queues import LeasedQueues
from shared.bucket.keys import failure_key, record_key, view_key
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.messages import Caption, CaptionJob, Decoding, Failure, Recipe, Video, decode
from shared.prompts import BASE_PROMPT
from shared.settings import Settings
from tests.waiting import wait_until


@dataclass(frozen=True)
class World:
    """Two versioned buckets of our own, a Redis prefix of our own, and what reads and writes them.

    Versioned, so that a test can count how often a key was written.
    """

    videos: str
    output: str
    redis_url: str
    aws: dict[str, str]
    redis_prefix: str

    @property
    def prefix(self) -> str:
        """Of the output, so that no test module sees what another one wrote."""
        return f"{self.redis_prefix}/out/"

    @property
    def env(self) -> dict[str, str]:
        return {
            **self.aws,
            "JAMAK_REDIS_URL": self.redis_url,
            "JAMAK_REDIS_PREFIX": self.redis_prefix,
            "JAMAK_OUTPUT": f"s3://{self.output}/{self.prefix}",
            "JAMAK_MODEL": "tests/tiny",
            "JAMAK_MODEL_REVISION": "1",
            "JAMAK_DEVICE": "cpu",
            "JAMAK_MAX_NEW_TOKENS": "12",
            "JAMAK_ADAPTER_POLL_S": "0.5",
        }

    @cached_property
    def settings(self) -> Settings:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            return Settings()

    @cached_property
    def store(self) -> ObjectStore:
        return ObjectStore()

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.store, self.output, self.prefix)

    @cached_property
    def captions(self) -> Celery:
        return caption_app(self.settings)

    @cached_property
    def queues(self) -> LeasedQueues:
        return queues_of(self.captions)

    def send(self, *jobs: CaptionJob) -> None:
        """As an upload would."""
        for job in jobs:
            send(self.queues, queue_of(job.card, bulk=False), [job])

    @cached_property
    def training(self) -> Celery:
        return train_app(self.settings)

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe(
            prompt=BASE_PROMPT,
            model="tests/tiny",
            revision="1",
            decoding=Decoding(max_new_tokens=12, language="ko"),
        )

    def waiting(self, queue: str) -> int:
        with redis.Redis.from_url(self.redis_url) as client:
            return int(client.llen(f"{self.redis_prefix}:{queue}"))

    def upload(self, path: Path, key: str) -> Video:
        self.store.upload(path, self.videos, key)
        info = self.store.head(self.videos, key)
        return Video(bucket=self.videos, key=key, etag=info.etag, size_bytes=info.size_bytes)

    def job(self, video: Video, **recipe: object) -> CaptionJob:
        return CaptionJob(video=video, recipe=self.recipe.model_copy(update=recipe))

    def caption(self, job: CaptionJob, within_s: float = 60) -> Caption:
        key = record_key(self.prefix, job)
        wait_until(lambda: self.store.exists(self.output, key), within_s, f"the record {key}")
        return decode(Caption, self.store.get(self.output, key))

    def failure(self, job: CaptionJob, within_s: float = 60) -> Failure:
        key = failure_key(self.prefix, job)
        wait_until(lambda: self.store.exists(self.output, key), within_s, f"the failure {key}")
        return decode(Failure, self.store.get(self.output, key))

    def view(self, video: Video, ending: str, within_s: float = 60) -> bytes:
        """It is written after the record that `caption` waits for."""
        key = view_key(self.prefix, video.bucket, video.key, ending)
        wait_until(lambda: self.store.exists(self.output, key), within_s, f"the view {key}")
        return self.store.get(self.output, key)

    def times_written(self, prefix: str) -> Counter[str]:
        """Of all keys that begin like that; one listing costs as much as many."""
        pages = boto3.client("s3").get_paginator("list_object_versions")
        return Counter(
            version["Key"]
            for page in pages.paginate(Bucket=self.output, Prefix=prefix)
            for version in page.get("Versions", [])
        )
