"""A Redis as production has it: TLS, and an ACL user who may touch our keys alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from infra.local.processes import stop
from infra.local.redis import start_redis
from producer.enqueue import enqueue
from tests.captioner import Captioner
from tests.tls import make_certificate, tls_proxy
from tests.videos import write_clip
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model]

ACL = ["~jamak*", "&*", "+@all", "-@admin", "-@dangerous"]
"""As docs/configuration.md advises."""


@pytest.fixture
def secure(aws: dict[str, str], buckets: tuple[str, str], tmp_path: Path) -> Iterator[World]:
    server = start_redis(tmp_path / "redis")
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "jamak", "on", ">secret", *ACL)
    certificate, key = make_certificate(tmp_path)
    with tls_proxy(certificate, key, server.port) as port:
        url = f"rediss://jamak:secret@127.0.0.1:{port}/0"
        yield World(*buckets, url, {**aws, "JAMAK_REDIS_CA_FILE": str(certificate)}, "jamak")
    server.stop()


def jamak(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "producer.cli", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_captions_come_over_tls_with_an_acl_user(secure: World, tmp_path: Path) -> None:
    worker = Captioner(secure, tmp_path)
    try:
        worker.wait()
        job = secure.job(secure.upload(write_clip(tmp_path / "a.mp4", 12), "secure.mp4"))
        enqueue(secure.captions, secure.store, secure.settings, [job.video], job.recipe)
        assert secure.caption(job).text
        done = jamak("status", "--json", **secure.env)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["queues"]["caption.t4"]["workers"]) == 1
    finally:
        stop([worker.process], patience_s=20)


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: World) -> None:
    done = jamak("status", **{**secure.env, "JAMAK_REDIS_CA_FILE": ""})
    assert done.returncode == 1
    assert "Redis does not answer" in done.stderr
    assert "JAMAK_REDIS_CA_FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
