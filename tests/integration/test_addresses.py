"""Videos that are in no bucket: presigned and public addresses, and files here."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from producer.backlog.enqueue import Enqueuer
from shared.bucket.keys import place_of
from shared.bucket.videos import video_of
from shared.errors import EmptyFile, Forbidden, Missing, NoRanges, Overwritten, StoreUnavailable
from shared.messages import Caption, CaptionJob, decode
from shared.web.addresses import Addresses
from tests.videos import write_clip
from tests.work import Silent, taken, work_with
from tests.world import World
from workers.caption.captioner import Answer
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration


def local(world: World) -> Addresses:
    """From the S3 API of the tests."""
    return Addresses((world.aws["AWS_ENDPOINT_URL"],))


def presigned(world: World, key: str) -> str:
    return str(
        boto3.client("s3").generate_presigned_url(
            "get_object", Params={"Bucket": world.videos, "Key": key}
        )
    )


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A server that knows nothing of ranges."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_presigned_address_is_read_by_ranges_and_pinned(world: World) -> None:
    world.store.put(world.videos, "web/a b.mp4", b"0123456789")
    address, addresses = presigned(world, "web/a b.mp4"), local(world)
    info = addresses.head(address)
    assert (info.size_bytes, info.key) == (10, f"{world.videos}/web/a b.mp4")
    assert addresses.get_range(address, 2, 5, info.etag) == b"234"
    world.store.put(world.videos, "web/a b.mp4", b"9876543210")
    with pytest.raises(Overwritten) as caught:
        addresses.get_range(address, 2, 5, info.etag)
    assert "ignature" not in str(caught.value)


def test_what_is_wrong_with_an_address_is_said(world: World, web: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"bytes")
    (tmp_path / "empty.mp4").touch()
    addresses = Addresses((web, world.aws["AWS_ENDPOINT_URL"], "http://127.0.0.1:1/"))
    with pytest.raises(NoRanges):
        addresses.head(f"{web}/a.mp4")
    with pytest.raises(EmptyFile):
        addresses.head(f"{web}/empty.mp4")
    with pytest.raises(Missing):
        addresses.head(f"{web}/b.mp4")
    with pytest.raises(Missing):
        addresses.head(presigned(world, "web/absent.mp4"))
    with pytest.raises(StoreUnavailable):
        addresses.head("http://127.0.0.1:1/a.mp4")
    with pytest.raises(Forbidden, match="not allowed"):
        addresses.head("https://example.com/a.mp4")


def test_files_are_read_where_it_was_allowed_and_nowhere_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "videos" / "a b.mp4", tmp_path / "secret"
    inside.parent.mkdir()
    inside.write_bytes(b"0123456789")
    outside.write_bytes(b"secret")
    (inside.parent / "link").symlink_to(outside)
    allowed = Addresses((f"file://{inside.parent}/",))
    info = allowed.head(f"file://{inside}")
    assert allowed.get_range(f"file://{inside}", 2, 5, info.etag) == b"234"
    for address in (outside, inside.parent / ".." / "secret", inside.parent / "link"):
        with pytest.raises(Forbidden):
            allowed.head(f"file://{address}")
    (inside.parent / "empty").touch()
    os.mkfifo(inside.parent / "pipe")
    with pytest.raises(EmptyFile):
        allowed.head(f"file://{inside.parent}/empty")
    for name in ("absent", "pipe", "", f"{'a' * 300}"):
        with pytest.raises(Missing):
            allowed.head(f"file://{inside.parent}/{name}")
    os.utime(inside, (1, 1))
    with pytest.raises(Overwritten):
        allowed.get_range(f"file://{inside}", 2, 5, info.etag)


def test_an_address_is_captioned_and_stays_a_secret(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Speaking(Silent):
        def caption(self, *args: object) -> Answer:  # type: ignore[override]
            return Answer("빨간 원이 움직입니다.", True, 2, 3, 9, None)

    monkeypatch.setenv("JAMAK_ADDRESSES", json.dumps([world.aws["AWS_ENDPOINT_URL"]]))
    world.upload(write_clip(tmp_path / "a.mp4", 24), "web/film.mp4")
    address = presigned(world, "web/film.mp4")
    settings = world.settings
    enqueuer = Enqueuer(settings, world.store, world.queues, world.recipe, "t4", False)
    assert enqueuer.take(address).enqueued == 1  # type: ignore[union-attr]
    info = local(world).head(address)
    job = CaptionJob(video=video_of(info), recipe=world.recipe, address=address)
    assert "ignature" not in job.video.uri
    pool = DecoderPool(1)
    work = work_with(world, Speaking(), pool)
    lease = taken(world, job)
    assert work.run(job, lease) == "ok"
    pool.close()
    bucket, key = place_of(address)
    caption = world.caption(job)
    assert (caption.video.bucket, caption.video.key) == (bucket, key)
    assert "ignature" not in caption.model_dump_json()
    assert enqueuer.take(address).already == 1  # type: ignore[union-attr]
    shown = subprocess.run(
        [sys.executable, "-m", "producer.cli", "get", address, "--format", "json"],
        env={**os.environ, **world.env},
        capture_output=True,
        text=True,
    )
    assert decode(Caption, json.loads(shown.stdout)) == caption
