"""A real broker and a real S3 API: our own processes, or any that the environment names.

`JAMAK_TEST_REDIS_URL` and `JAMAK_TEST_S3_ENDPOINT` (with AWS_* credentials) point the tests
elsewhere. They make buckets of their own, use key prefixes of their own, and touch nothing else.
`JAMAK_TEST_REDIS_SERVER` is the program that all servers of the tests are, of another version.
"""

import os

# Before torch is imported. Tests share the cores with the processes they start: more threads each
# would only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gc
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import redis
from hypothesis import HealthCheck, settings

from infra.local.redis import start_redis
from infra.local.s3 import start_s3
from tests.world import World

pytest_plugins = ["tests.timings"]

# Hypothesis calls it a failure when one example, or the search for examples, takes long. On a
# machine with other work both do.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

gc.disable()  # until all is imported: in that there is no garbage


def pytest_collection_finish() -> None:
    gc.freeze()  # or each search would go through torch again
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> Iterator[None]:
    """The one that is named comes first on PATH, where infra.local looks for it."""
    named = os.environ.get("JAMAK_TEST_REDIS_SERVER")
    if not named:
        yield
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, "redis-server").symlink_to(Path(named).resolve(strict=True))
        patch.setenv("PATH", folder, prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = os.environ.get("JAMAK_TEST_REDIS_URL")
    if given:
        yield given
        return
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """AWS_* variables, set for this process too."""
    given = os.environ.get("JAMAK_TEST_S3_ENDPOINT")
    server = None if given else start_s3(tmp_path_factory.mktemp("s3"))
    env = server.env if server else {"AWS_ENDPOINT_URL": str(given)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield env
    if server:
        server.stop()


@pytest.fixture(scope="session")
def buckets(aws: dict[str, str]) -> Iterator[tuple[str, str]]:
    client = boto3.client("s3")
    names = tuple(f"jamak-test-{uuid.uuid4().hex[:12]}" for _ in range(2))
    for name in names:
        client.create_bucket(Bucket=name)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    yield names[0], names[1]
    if not os.environ.get("JAMAK_TEST_S3_ENDPOINT"):
        return  # they end with their server
    for name in names:
        # All of them first: what is deleted meanwhile would move the pages.
        pages = list(client.get_paginator("list_object_versions").paginate(Bucket=name))
        for page in pages:
            found = page.get("Versions", []) + page.get("DeleteMarkers", [])
            objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            if objects:
                client.delete_objects(Bucket=name, Delete={"Objects": objects, "Quiet": True})
        client.delete_bucket(Bucket=name)


@pytest.fixture(scope="module")
def world(redis_url: str, aws: dict[str, str], buckets: tuple[str, str]) -> Iterator[World]:
    made = World(*buckets, redis_url, aws, f"test-{uuid.uuid4().hex[:8]}")
    yield made
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{made.redis_prefix}*"):
            client.delete(key)
