"""Stores that speak another dialect of S3: what can be done otherwise is, the rest is refused."""

import ssl
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from producer.backlog.manifest import Backlog, Manifest
from producer.jobs.listed import present
from shared.bucket import swaps
from shared.bucket.keys import record_key, view_key
from shared.bucket.records import Records
from shared.bucket.registry import ADAPTER_FILES, Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.training import TrainingRecords
from shared.errors import ConfigError, Conflict, StoreUnavailable
from shared.messages import ModelIdentity, Video
from shared.settings import Output, Settings
from shared.training import AdapterManifest
from tests.adapters import publish
from tests.fronts import (
    Answer,
    Asked,
    Lie,
    LosesAnswers,
    Truth,
    front,
    has_short_segments,
    ignores,
    lists_folder_by_folder,
    no,
    refuses_trailers,
    skips_the_folder,
    takes_etags_without_quotes,
)
from tests.records import caption
from tests.tls import make_certificate
from tests.world import World

pytestmark = pytest.mark.integration

BASE = "d" * 64

Store = Callable[[Lie], ObjectStore]


@pytest.fixture
def output(world: World) -> Output:
    """Of one test."""
    return Output(world.output, f"{world.prefix}{uuid.uuid4().hex[:8]}/")


@pytest.fixture
def behind(world: World, output: Output, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that lies."""
    with ExitStack() as stack:

        def made(lie: Lie) -> ObjectStore:
            url = stack.enter_context(front(world.aws["AWS_ENDPOINT_URL"], lie))
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            return ObjectStore(2, [output])

        yield made


def test_an_honest_store_is_proven_with_few_requests(world: World, output: Output) -> None:
    for most in (17, 9):
        store, asked = ObjectStore(2, [output]), list[str]()

        def count(event_name: str, asked: list[str] = asked, **_: object) -> None:
            asked.append(event_name)

        store.client.s3.meta.events.register("request-created.s3", count)
        found = store.prove(output)
        assert {one.verdict for one in found} == {"works"}
        assert len(asked) <= most
        assert store.prove(output) == []  # once is enough


# --- what is done otherwise ----------------------------------------------------------------------


def test_an_etag_without_quotes_is_used_where_the_store_wants_it(
    world: World, output: Output, behind: Store, tmp_path: Path
) -> None:
    store = behind(takes_etags_without_quotes)
    registry = Registry(store, *output)
    versions = [published(registry, tmp_path / name).version for name in "ab"]
    for version in versions:
        registry.activate(BASE, version)
    assert registry.rollback(BASE).version == versions[0]
    backlog = new_backlog(store, world, output)
    assert backlog.turn("paused").state == "paused"
    assert not store.dialect.quoted
    with pytest.raises(Conflict):
        store.put(output.bucket, f"{output.prefix}probes/conditional-put", b"x", if_match="0" * 32)


def test_checksums_are_left_out_where_the_store_refuses_them(
    world: World, output: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Over TLS boto3 sends them behind the body."""
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    (tmp_path / "file").write_bytes(b"a file")
    with front(world.aws["AWS_ENDPOINT_URL"], refuses_trailers, context) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = ObjectStore(2, [output])
        store.upload(tmp_path / "file", output.bucket, f"{output.prefix}file")
        assert store.get(output.bucket, f"{output.prefix}file") == b"a file"
        assert store.client.checksums == "when_required"
        (told,) = (one for one in ObjectStore(2).prove(output) if one.name == "checksums")
    assert (told.verdict, told.how) == (
        "otherwise",
        "AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
    )


def test_another_order_ends_and_misses_nothing(
    world: World, output: Output, behind: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bucket.storage.PAGE_KEYS", 3)
    folder = f"{output.prefix}x/"
    there = {
        f"{folder}{name}" for name in ("a", "a-b", "a/b", "a/c", "a.b", "b/c/d", "b!", "한/글")
    }
    for key in there:
        world.store.put(output.bucket, key, b"")
    store = behind(lists_folder_by_folder)
    asked = there | {f"{key}?" for key in there}
    assert present(store, output.bucket, folder, asked) == there
    assert not store.dialect.ordered
    listed = [item.key for item in store.list(output.bucket, folder)]
    assert (set(listed), len(listed)) == (there, len(there))
    for at, key in enumerate(listed):
        rest = [item.key for item in store.list(output.bucket, folder, key)]
        assert rest == listed[at + 1 :]
    gone = f"{folder}that was deleted meanwhile"
    assert {item.key for item in store.list(output.bucket, folder, gone)} == there


def test_what_a_listing_leaves_out_behind_a_folders_name_is_found(
    world: World, output: Output, behind: Store
) -> None:
    folder = f"{output.prefix}x/"
    there = {f"{folder}{name}" for name in ("a", "a/b", "c")}
    for key in there:
        world.store.put(output.bucket, key, b"")
    store = behind(skips_the_folder)
    assert present(store, output.bucket, folder, there) == there
    assert not store.dialect.ordered


def test_a_listing_that_goes_round_in_circles_ends(output: Output, behind: Store) -> None:
    def circles(asked: Asked, truth: Truth) -> Answer:
        body = (
            "<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>"
            f"<NextContinuationToken>{len(turns)}</NextContinuationToken>"
            "<Contents><Key>k</Key><Size>1</Size><ETag>e</ETag>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"
        )
        turns.append(asked.path)
        return Answer(200, {"Content-Type": "application/xml"}, body.encode())

    turns: list[str] = []
    store = behind(circles)
    with pytest.raises(StoreUnavailable, match="does not end"):
        list(store.list(output.bucket, output.prefix))
    with pytest.raises(StoreUnavailable, match="does not end"):
        list(store.folders(output.bucket, output.prefix))
    assert len(turns) < 10


def test_a_name_of_82_korean_letters_is_written_where_names_are_those_of_files(
    world: World, output: Output, behind: Store
) -> None:
    store = behind(has_short_segments)
    store.prove(output)
    for key in ("가" * 82 + ".mp4", "가" * 90 + "/a.mp4"):
        video = world.job(Video(bucket="v", key=key, etag="e", size_bytes=1))
        for made in (record_key(output.prefix, video), view_key(output.prefix, "v", key, ".vtt")):
            store.put(output.bucket, made, b"", if_none_match=True)
            assert present(store, output.bucket, output.prefix, [made]) == {made}


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (ignores("If-None-Match", "PUT"), "ignores If-None-Match"),
        (ignores("If-Match", "PUT"), "ignores If-Match: of two"),
        (ignores("If-Match", "GET"), "ignores If-Match at a GET"),
        (ignores("Range", "GET"), "with something else"),
    ],
)
def test_what_a_store_cannot_do_is_refused_by_name(
    behind: Store, output: Output, lie: Lie, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        behind(lie).prove(output)
    assert caught.value.cure


def test_a_store_that_takes_no_condition_at_all_is_refused(behind: Store, output: Output) -> None:
    def lie(asked: Asked, truth: Truth) -> Answer:
        if asked.method == "PUT" and "If-Match" in asked.headers:
            return no(412, "PreconditionFailed")
        return truth(asked)

    with pytest.raises(ConfigError, match="with the right ETag"):
        behind(lie).prove(output)


@pytest.mark.parametrize("status", [400, 500])
def test_a_store_of_short_keys_is_refused(behind: Store, output: Output, status: int) -> None:
    def lie(asked: Asked, truth: Truth) -> Answer:
        if asked.method == "PUT" and len(asked.key.encode()) > 900:
            return no(status, "KeyTooLongError")
        return truth(asked)

    with pytest.raises(ConfigError, match="takes no keys of 1024 bytes"):
        behind(lie).prove(output)


def test_whoever_relies_on_it_proves_it_and_changes_nothing_where_it_fails(
    world: World, output: Output, behind: Store, tmp_path: Path
) -> None:
    """A verb is a process, too."""
    honest = Registry(world.store, *output)
    version = published(honest, tmp_path / "a").version
    with pytest.raises(ConfigError, match="ignores If-Match"):
        Registry(behind(ignores("If-Match", "PUT")), *output).activate(BASE, version)
    assert honest.pointer(BASE).generation == 0


def test_the_cure_names_versions_where_the_bucket_keeps_them(behind: Store, output: Output) -> None:
    """As those of these tests do."""
    with pytest.raises(ConfigError) as caught:
        behind(ignores("If-None-Match", "PUT")).prove(output)
    assert "keeps versions" in caught.value.cure


# --- answers that are lost -----------------------------------------------------------------------


def test_an_answer_that_was_lost_is_no_conflict(
    world: World, output: Output, behind: Store
) -> None:
    loses = LosesAnswers()
    store = behind(loses)
    store.prove(output)
    loses.left = 1
    etag = store.put(output.bucket, f"{output.prefix}k", b"one", if_none_match=True)
    loses.left = 1
    store.put(output.bucket, f"{output.prefix}k", b"two", if_match=etag)
    assert store.get(output.bucket, f"{output.prefix}k") == b"two"
    with pytest.raises(Conflict):
        store.put(output.bucket, f"{output.prefix}k", b"three", if_match=etag)
    loses.left = 1
    backlog = new_backlog(store, world, output)
    manifest, etag = backlog.manifest()
    loses.left = 1
    backlog.save(manifest.model_copy(update={"lines": 8}), etag)
    assert backlog.manifest()[0].lines == 8


@pytest.mark.parametrize("tries", [1, 2])
def test_a_move_whose_answer_was_lost_is_not_made_again_over_who_rolled_it_back(
    world: World, output: Output, behind: Store, tmp_path: Path, tries: int
) -> None:
    """Until it was asked again, somebody has looked at the adapter, and put it down."""
    honest = Registry(world.store, *output)
    good, bad = (published(honest, tmp_path / name).version for name in "gb")
    honest.activate(BASE, good)
    loses = LosesAnswers()
    store = behind(loses)
    store.prove(output)
    loses.left, loses.then = tries, lambda: honest.rollback(BASE, bad) and None
    Registry(store, *output).activate(BASE, bad)
    assert honest.pointer(BASE).version == good
    assert honest.pointer(BASE).generation == 3


def test_no_swap_is_lost_for_ever(
    world: World, output: Output, behind: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A store that turns round after it was proven."""
    monkeypatch.setattr(swaps, "SWAPS", 3)
    lies: list[int] = []

    def lie(asked: Asked, truth: Truth) -> Answer:
        if lies and asked.method == "PUT" and {"If-Match", "If-None-Match"} & set(asked.headers):
            return no(412, "PreconditionFailed")
        return truth(asked)

    store = behind(lie)
    registry = Registry(store, *output)
    version = published(registry, tmp_path / "a").version
    backlog = new_backlog(store, world, output)
    records = Records(store, settings_of(world, output))
    training = TrainingRecords(store, *output)
    lies.append(1)
    for ask in (
        lambda: registry.activate(BASE, version),
        lambda: backlog.turn("paused"),
        lambda: records.render(caption("text")),
        lambda: training.cancel("job"),
    ):
        with pytest.raises(StoreUnavailable, match="between our look and our write"):
            ask()
    store.delete(output.bucket, f"{output.prefix}backlogs/one/cursor.json")
    with pytest.raises(StoreUnavailable, match="between our look"):
        backlog.cursor()


def settings_of(world: World, output: Output) -> Settings:
    return world.settings.model_copy(update={"output": f"s3://{output.bucket}/{output.prefix}"})


def new_backlog(store: ObjectStore, world: World, output: Output) -> Backlog:
    made = Backlog(store, settings_of(world, output), "one")
    made.create(
        Manifest(
            name="one",
            source="s3://v/",
            recipe=world.recipe,
            card="t4",
            created_at=datetime.now(UTC),
        )
    )
    return made


def published(registry: Registry, folder: Path) -> AdapterManifest:
    folder.mkdir()
    for name in ADAPTER_FILES:
        (folder / name).write_bytes(folder.name.encode())
    return publish(registry, folder, ModelIdentity(id="m", revision="r", weights_sha256=BASE))
