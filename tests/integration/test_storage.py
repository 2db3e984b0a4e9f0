"""The store, the registry and the records against a real S3 API."""

import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from producer.jobs.listed import present
from shared.bucket.keys import record_key, view_key
from shared.bucket.records import Records
from shared.bucket.registry import MOST_BYTES
from shared.bucket.storage import ObjectStore
from shared.errors import (
    BadAdapter,
    Conflict,
    JamakError,
    Missing,
    NoSuchBucket,
    Overwritten,
    Reject,
    StoreUnavailable,
    TooLarge,
)
from shared.messages import (
    Caption,
    CaptionJob,
    CardUsed,
    FramesUsed,
    ModelIdentity,
    TokensUsed,
    Video,
    decode,
)
from shared.training import AdapterManifest
from tests.adapters import publish
from tests.world import World

pytestmark = pytest.mark.integration

BASE = "b" * 64


def test_conditional_writes_have_one_winner(world: World) -> None:
    def write(writer: int) -> bool:
        try:
            world.store.put(world.output, "race", str(writer).encode(), if_none_match=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [writer for writer, ok in enumerate(pool.map(write, range(8))) if ok]
    assert len(won) == 1
    assert world.store.get(world.output, "race") == str(won[0]).encode()


def test_an_upload_to_nowhere_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    with pytest.raises(NoSuchBucket, match="no-such-bucket-of-ours"):
        world.store.upload(tmp_path / "a", "no-such-bucket-of-ours", "a")


def test_a_read_is_pinned_to_the_content(world: World) -> None:
    store, where = world.store, (world.videos, "pinned")
    old = store.put(*where, b"old one")
    first = store.head(*where, etag=old)
    assert (first.etag, first.size_bytes) == (old, 7)
    assert store.get_range(*where, 1, 4, etag=old) == b"ld "
    store.put(*where, b"new one")
    with pytest.raises(Overwritten):
        store.head(*where, etag=old)
    with pytest.raises(Overwritten):
        store.get_range(*where, 0, 3, etag=old)
    assert store.get_range(*where, 0, 3, etag=old, version_id=first.version_id) == b"old"
    with pytest.raises(Missing):
        store.get_range(world.videos, "absent", 0, 3)


# --- views ---------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def caption(world: World, text: str, *, age_s: float = 0, generation: int = 0) -> Caption:
    """Of one key, whose video gets younger with a smaller age."""
    recipe = world.recipe.model_copy(update={"generation": generation})
    return Caption(
        status="ok",
        flags=(),
        text=text,
        video=Video(bucket="v", key="views/a.mp4", etag=text, size_bytes=1),
        last_modified=NOW - timedelta(seconds=age_s),
        duration_s=1,
        frames=FramesUsed(requested=1, decoded=1, timestamps_s=(0,)),
        tokens=TokensUsed(visual=1, prompt=1, generated=1),
        recipe_id=recipe.id,
        recipe=recipe,
        model=ModelIdentity(id="m", revision="r", weights_sha256="0"),
        adapter=None,
        card=CardUsed(name="cpu", device="cpu", dtype="float32", quantized=False),
        timings_s={},
        created_at=datetime.now(UTC),
        jamak="0",
    )


def records_of(world: World, prefix: str) -> Records:
    output = f"s3://{world.output}/{prefix}"
    return Records(world.store, world.settings.model_copy(update={"output": output}))


def view(world: World, prefix: str) -> str:
    key = view_key(prefix, "v", "views/a.mp4", ".json")
    return decode(Caption, world.store.get(world.output, key)).text


def test_a_view_of_the_future_is_replaced(world: World) -> None:
    """A server may tell any date; the next version of the video is newer all the same."""
    records = records_of(world, "future/")
    future = datetime(9999, 1, 1, tzinfo=UTC)
    records.render(caption(world, "made up").model_copy(update={"last_modified": future}))
    later = datetime.now(UTC) + timedelta(hours=1)
    newer = caption(world, "newer")
    records.render(newer.model_copy(update={"last_modified": later, "created_at": later}))
    assert view(world, "future/") == "newer"


def test_the_view_shows_the_newest_video_whoever_is_late(world: World) -> None:
    records = records_of(world, "newest/")
    for item in (
        caption(world, "old", age_s=10),
        caption(world, "new"),
        caption(world, "older", age_s=20, generation=5),
    ):
        records.render(item)
    assert view(world, "newest/") == "new"
    records.render(caption(world, "again", generation=1))
    assert view(world, "newest/") == "again"
    vtt = world.store.get(world.output, view_key("newest/", "v", "views/a.mp4", ".vtt"))
    assert vtt.decode().startswith("WEBVTT")
    assert "again" in vtt.decode()


def test_some_videos_captions_go_elsewhere(world: World) -> None:
    settings = world.settings.model_copy(
        update={"outputs": {"s3://v/views/": f"s3://{world.output}/elsewhere/"}}
    )
    records = Records(world.store, settings)
    here = caption(world, "here")
    there = here.model_copy(update={"video": here.video.model_copy(update={"key": "b.mp4"})})
    for item, prefix in ((here, "elsewhere/"), (there, world.prefix)):
        job = CaptionJob(video=item.video, recipe=item.recipe)
        assert records.write(job, item)
        records.render(item)
        assert world.store.exists(world.output, record_key(prefix, job))
        assert world.store.exists(world.output, view_key(prefix, "v", item.video.key, ".vtt"))
        assert records.show("v", item.video.key) == item


def test_views_rendered_at_once_end_with_the_newest(world: World) -> None:
    records = records_of(world, "race/")
    items = [caption(world, f"text{age}", age_s=age) for age in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(records.render, items))
    assert view(world, "race/") == "text0"


def test_a_record_is_written_once(world: World) -> None:
    records = records_of(world, "once/")
    item = caption(world, "first")
    job = CaptionJob(video=item.video, recipe=item.recipe)
    assert records.find(job) is None
    assert records.write(job, item)
    assert not records.write(job, item.model_copy(update={"text": "second"}))
    found = records.find(job)
    assert found is not None
    assert found.text == "first"
    assert world.times_written(record_key("once/", job)).total() == 1


# --- registry ------------------------------------------------------------------------------------


def published(
    world: World, folder: Path, content: bytes = b"weights", base: str = BASE
) -> AdapterManifest:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(content)
    (folder / "adapter_config.json").write_bytes(b"{}")
    return publish(world.registry, folder, ModelIdentity(id="m", revision="r", weights_sha256=base))


def test_an_adapter_comes_back_as_it_was_published(world: World, tmp_path: Path) -> None:
    manifest = published(world, tmp_path / "a")
    published(world, tmp_path / "a")  # a repeated run is harmless
    assert world.registry.download(BASE, manifest.version, tmp_path / "b") == manifest
    assert (tmp_path / "b" / "adapter_model.safetensors").read_bytes() == b"weights"
    assert manifest.version in [item.version for item in world.registry.manifests()]
    assert world.registry.find(manifest.version[:6]) == manifest


def test_a_flipped_bit_is_found(world: World, tmp_path: Path) -> None:
    manifest = published(world, tmp_path / "a", b"other weights")
    key = f"{world.prefix}adapters/{BASE[:12]}/{manifest.version}/adapter_model.safetensors"
    world.store.put(world.output, key, b"other weightr")
    with pytest.raises(BadAdapter, match="not the file that was published"):
        world.registry.download(BASE, manifest.version, tmp_path / "b")


def test_nothing_of_an_adapter_is_read_that_is_larger_than_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = published(world, tmp_path / "a", b"a few weights")
    monkeypatch.setitem(MOST_BYTES, "adapter_model.safetensors", 12)
    with pytest.raises(BadAdapter, match="has 13 bytes; it may have 12"):
        world.registry.download(BASE, manifest.version, tmp_path / "b")
    monkeypatch.setattr("shared.bucket.registry.MOST_MANIFEST_BYTES", 99)
    for read in (
        lambda: world.registry.manifest(BASE, manifest.version),
        lambda: world.registry.find(manifest.version),
        lambda: world.registry.activate(BASE, manifest.version),
    ):
        with pytest.raises(TooLarge):
            read()
    told: list[JamakError] = []  # and it does not keep the others
    assert not list(world.registry.manifests(told.append))
    assert {type(error) for error in told} == {TooLarge}
    key = f"{world.prefix}adapters/{'e' * 12}/active.json"
    world.store.put(world.output, key, b" " * 100)
    with pytest.raises(TooLarge):
        world.registry.pointer("e" * 64)


@pytest.mark.parametrize("name", ["", "..", "a/b", "lora_A.weight", "0123456789ABC"])
def test_what_cannot_name_a_version_is_not_fetched(world: World, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadAdapter, match="cannot be the name"):
        world.registry.download(BASE, name, tmp_path)


def test_an_adapter_of_another_base_is_not_found(world: World, tmp_path: Path) -> None:
    manifest = published(world, tmp_path / "a")
    with pytest.raises(Missing):
        world.registry.download("c" * 64, manifest.version, tmp_path / "b")
    namesake = BASE[:12] + "c" * 52  # shares the folder
    with pytest.raises(BadAdapter, match="trained on other weights"):
        world.registry.download(namesake, manifest.version, tmp_path / "b")


def test_the_pointer_moves_forward_and_back(world: World, tmp_path: Path) -> None:
    registry = world.registry
    one = published(world, tmp_path / "a", b"one").version
    two = published(world, tmp_path / "b", b"two").version
    assert registry.pointer(BASE).generation == 0
    with pytest.raises(Reject):
        registry.rollback(BASE)
    registry.activate(BASE, one)
    registry.activate(BASE, two)
    assert registry.rollback(BASE).version == one
    assert registry.rollback(BASE).version is None
    assert registry.pointer(BASE).generation == 4
    with pytest.raises(Missing):
        registry.activate(BASE, "unheard-of")
    assert registry.pointer(BASE).version is None


def test_two_who_move_the_pointer_at_once_both_count(world: World, tmp_path: Path) -> None:
    base = "f" * 64  # the first of them makes the pointer
    version = published(world, tmp_path / "a", base=base).version
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: world.registry.activate(base, version), range(6)))
    assert world.registry.pointer(base).generation == 6


def test_a_write_that_meets_another_one_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real S3 answers 409 then; the stand-in never does, so its answer is replaced here."""
    monkeypatch.setattr("shared.bucket.storage.CONFLICT_PAUSE_S", 0.01)
    store, answers = ObjectStore(), [409, 409]
    body = b"<Error><Code>ConditionalRequestConflict</Code></Error>"

    def answer(request: Any, **_: Any) -> Any:
        if not answers:
            return None  # from here on the real one
        return AWSResponse(request.url, answers.pop(), {}, RawBody(body))

    store.client.s3.meta.events.register("before-send.s3.PutObject", answer)
    store.put(world.output, "conflict/key", b"1", if_none_match=True)
    assert store.get(world.output, "conflict/key") == b"1"
    answers += [409] * 10
    with pytest.raises(StoreUnavailable, match="ConditionalRequestConflict"):
        store.put(world.output, "conflict/other", b"1", if_none_match=True)


class RawBody(io.BytesIO):
    """What botocore reads an answer from."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.getvalue()


def test_what_is_there_is_found_by_listing_whatever_lies_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bucket.storage.PAGE_KEYS", 3)
    dice = random.Random(5)
    signs = ["a", "b", "-", ".", "/", "한", "!", "~"]
    names = {f"join/{''.join(dice.choices(signs, k=dice.randint(1, 4)))}.json" for _ in range(200)}
    there = set(dice.sample(sorted(names), 60))
    for name in there:
        world.store.put(world.output, name, b"")
    for _ in range(10):
        wanted = set(dice.sample(sorted(names), dice.randint(0, 50)))
        assert present(world.store, world.output, "join/", wanted) == wanted & there
    listed = [item.key for item in world.store.list(world.output, "join/")]
    assert listed == sorted(there)
    assert [i.key for i in world.store.list(world.output, "join/", listed[7])] == listed[8:]
    folders = {name.split("/")[1] for name in there if name.count("/") > 1}
    assert set(world.store.folders(world.output, "join/")) == folders


def test_a_page_without_a_key_is_not_the_end_of_what_is_there(world: World) -> None:
    """S3 may send such pages where much was deleted; the stand-in never does."""
    store, going_on = ObjectStore(), True
    for name in ("empty/a.json", "empty/b.json"):
        store.put(world.output, name, b"")

    def answer(request: Any, **_: Any) -> Any:
        start, token, _ = request.url.partition("&continuation-token=")
        if token and going_on:
            request.url = start
            return None  # from here on the real one
        told = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        body = f"<ListBucketResult>{told}</ListBucketResult>".encode()
        return AWSResponse(request.url, 200, {}, RawBody(body))

    store.client.s3.meta.events.register("before-send.s3.ListObjectsV2", answer)
    page, more = store.list_page(world.output, "empty/")
    assert ([item.key for item in page], more) == (["empty/a.json", "empty/b.json"], False)
    wanted = {"empty/a.json", "empty/b.json", "empty/c.json"}
    assert present(store, world.output, "empty/", wanted) == wanted - {"empty/c.json"}
    going_on = False
    with pytest.raises(StoreUnavailable, match="does not end"):
        store.list_page(world.output, "empty/")
