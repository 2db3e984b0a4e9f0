"""What a job comes to when its video is not what it was, or not there any more."""

import threading
from collections.abc import Callable
from itertools import count

import pytest

from shared.bucket.storage import ObjectInfo
from shared.bucket.videos import video_of
from shared.errors import Gone, Missing, NoSuchBucket, Overwritten
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
