"""What a job comes to when its video is not what it was, or not there any more."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

import pytest

from shared.bucket.storage import ObjectInfo
from shared.bucket.videos import video_of
from shared.errors import BadMessage, EmptyFile, Gone, Missing, NoSuchBucket, Overwritten
from shared.messages import CaptionJob
from shared.web.addresses import Addresses
from tests.waiting import wait_until
from tests.web import Request, asked, reply, send_range, serving
from tests.world import World
from workers.jobs.fetch import Places, read_video
from workers.progress import Progress
from workers.video.source import Source
from workers.video.spool import Spool

pytestmark = pytest.mark.integration

CONTENT = b"0123456789"


def read_all(source: Source, info: ObjectInfo) -> bytes:
    return source.fetch(0, source.size_bytes)


def read(
    places: Places,
    job: CaptionJob,
    send: Callable[[CaptionJob], None] = lambda job: pytest.fail("a newer job was sent"),
    use: Callable[[Source, ObjectInfo], bytes] = read_all,
) -> bytes:
    return read_video(places, job, Progress(), send, use)


def at(world: World, web: str, path: str = "/a.mp4") -> tuple[Places, CaptionJob]:
    places, address = Places(world.store, Addresses((web,))), f"{web}{path}"
    video = video_of(places.addresses.head(address))
    return places, CaptionJob(video=video, recipe=world.recipe, address=address)


def test_an_address_gets_no_newer_job_however_often_its_etag_changes(world: World) -> None:
    etags = count()

    def answer(request: Request) -> None:
        send_range(request, CONTENT, ETag=f'"{next(etags)}"')

    with serving(answer) as web:
        places, job = at(world, web)
        with pytest.raises(Overwritten) as caught:
            read(places, job)
    assert "Enqueue it again" in caught.value.cure


@pytest.mark.parametrize(
    ("status", "cure"), [(404, "Check the address"), (302, "the address that it redirects to")]
)
@pytest.mark.parametrize("asked_before", [1, 2])
def test_who_is_gone_from_an_address_has_a_cure_that_helps(
    world: World, status: int, cure: str, asked_before: int
) -> None:
    """Also where it goes while it is read."""
    requests = count()

    def answer(request: Request) -> None:
        if next(requests) < asked_before:
            send_range(request, CONTENT)
        else:
            reply(request, status)

    with serving(answer) as web:
        places, job = at(world, web)
        with pytest.raises(Gone) as caught:
            read(places, job)
    assert cure in caught.value.cure


def test_only_the_videos_own_absence_is_gone(world: World) -> None:
    world.store.put(world.videos, "fetch/a.mp4", CONTENT)
    job = world.job(video_of(world.store.head(world.videos, "fetch/a.mp4")))
    places = Places(world.store, Addresses(()))

    def write(source: Source, info: ObjectInfo) -> bytes:
        world.store.put("there-is-no-such-bucket", "key", read_all(source, info))
        return b""

    def delete(source: Source, info: ObjectInfo) -> bytes:
        world.store.delete(world.videos, "fetch/a.mp4")
        return read_all(source, info)

    with pytest.raises(NoSuchBucket, match="there-is-no-such-bucket"):
        read(places, job, use=write)
    unversioned = job.model_copy(
        update={"video": job.video.model_copy(update={"version_id": None})}
    )
    with pytest.raises(Gone) as gone:
        read(places, unversioned, use=delete)
    assert gone.value.cure == Gone.cure


def test_an_object_that_was_overwritten_gets_a_newer_job(world: World) -> None:
    key, sent = "fetch/b.mp4", list[CaptionJob]()
    world.store.put(world.videos, key, CONTENT)
    job = world.job(video_of(world.store.head(world.videos, key)))
    newer = world.store.put(world.videos, key, b"newer")
    assert read(Places(world.store, Addresses(())), job, sent.append) == CONTENT
    assert [one.video.etag for one in sent] == [newer]


@pytest.mark.parametrize("size", [0, 1, len(CONTENT) + 1, -1, 2**70])
def test_a_size_that_was_made_up_is_no_video(world: World, size: int) -> None:
    """Three of them would be three records of one video."""
    world.store.put(world.videos, "fetch/size.mp4", CONTENT)
    info = world.store.head(world.videos, "fetch/size.mp4")
    video = video_of(info).model_copy(update={"size_bytes": size})
    for version_id in (info.version_id, None):
        job = world.job(video.model_copy(update={"version_id": version_id}))
        with pytest.raises(BadMessage, match="the message says"):
            read(Places(world.store, Addresses(())), job)


def test_an_empty_object_is_still_told_from_one_that_was_made_up(world: World) -> None:
    world.store.put(world.videos, "fetch/empty.mp4", b"")
    job = world.job(video_of(world.store.head(world.videos, "fetch/empty.mp4")))
    with pytest.raises(EmptyFile):
        read(Places(world.store, Addresses(())), job)


def test_a_video_of_the_future_is_of_today(world: World) -> None:
    def modified(date: str) -> float:
        def answer(request: Request) -> None:
            send_range(request, CONTENT, ETag='"one"', Last_Modified=date)

        def ahead(source: Source, info: ObjectInfo) -> bytes:
            return str((info.last_modified - datetime.now(UTC)).total_seconds()).encode()

        with serving(answer) as web:
            return float(read(*at(world, web), use=ahead))

    soon = datetime.now(UTC) + timedelta(minutes=10)
    assert 500 < modified(format_datetime(soon, usegmt=True)) <= 600  # clocks differ by so much
    assert -60 < modified("Fri, 31 Dec 9999 23:59:59 GMT") <= 0


def test_nobody_goes_on_reading_a_video_that_is_done_with(world: World) -> None:
    """A server that fails one request at once and lets the others trickle."""
    content, over = bytes(40 << 20), threading.Event()

    def trickle(request: Request) -> None:
        start, end = asked(request)
        if end - start == 1:
            send_range(request, content)
        elif end == len(content):
            reply(request, 404)
        else:
            told = f"bytes {start}-{end - 1}/{len(content)}"
            size = str(end - start)
            reply(request, 206, b"x", Content_Range=told, Content_Length=size, ETag='"one"')
            over.wait(20)

    others = set(threading.enumerate())
    spool = Spool(None, 8, 1 << 30)
    with serving(trickle) as web:
        for number in range(3):
            places, job = at(world, web, f"/{number}.mp4")
            assert job.address
            source = places.address_source(job.address, places.addresses.head(job.address))
            spool.begin(source, 8)
            with pytest.raises(Missing):
                spool.wait(len(content) - 10, len(content), lambda: None)
            spool.end()
            wait_until(lambda: not fetching(others), 5, "the end of its requests")
        over.set()
    spool.close()


def fetching(others: set[threading.Thread]) -> bool:
    mine = set(threading.enumerate()) - others
    return any(thread.name.startswith("fetch") for thread in mine)
