"""A worker among bad videos lives on, says what is wrong with each, and captions the good ones."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.demo.captions import caption as true_caption
from infra.demo.clips import Clip, film
from infra.demo.scenes import single
from infra.local.processes import stop
from shared.bucket.keys import failure_key, record_key
from shared.messages import Caption, CaptionJob, Failure, decode
from tests.captioner import Captioner
from tests.hostile.corpus import make_corpus
from tests.waiting import wait_until
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model]

"""One bad video in so many goes all the way; all of them go through the decoders elsewhere."""
SCENE = single("black", "red", "circle", "rightwards")


@pytest.fixture
def worker(world: World, tmp_path: Path) -> Iterator[Captioner]:
    worker = Captioner(
        world,
        tmp_path,
        JAMAK_MAX_VIDEO_BYTES=str(1 << 30),
        JAMAK_DECODE_DEADLINE_S="4",
        JAMAK_DECODER_MEMORY_MIB="1024",
    )
    worker.wait()
    yield worker
    stop([worker.process], patience_s=20)


@pytest.mark.parametrize(
    ("count", "every"), [(40, 20), pytest.param(200, 5, marks=pytest.mark.soak)]
)
def test_all_good_videos_among_bad_ones_are_captioned(
    world: World, worker: Captioner, tmp_path: Path, count: int, every: int
) -> None:
    clip = film(SCENE, Clip(7, fps=12), tmp_path / "good.mp4")
    good = [world.job(world.upload(clip, f"mixed/good-{i}.mp4")) for i in range(count)]
    corpus = [one for one in make_corpus(tmp_path) if one.path.stat().st_size][::every]
    bad = [(world.job(world.upload(one.path, f"mixed/{one.name}")), one) for one in corpus]
    jobs = [*good, *(job for job, _ in bad)]
    random.Random(6).shuffle(jobs)
    world.send(*jobs)
    wait_until(lambda: ended(world) == len(jobs), 300, "all of them")
    captions = [decode(Caption, world.store.get(world.output, key(world, job))) for job in good]
    assert {(one.status, one.text) for one in captions} == {("ok", true_caption(SCENE))}
    wrong = {one.name: what for job, one in bad if (what := end(world, job)) not in one.expect}
    assert wrong == {}
    assert worker.process.poll() is None
    assert {one.card.name for one in captions} == {"cpu"}


def key(world: World, job: CaptionJob) -> str:
    return record_key(world.prefix, job)


def ended(world: World) -> int:
    time.sleep(0.5)
    kinds = (f"{world.prefix}{kind}/" for kind in ("records", "failures"))
    return sum(1 for kind in kinds for _ in world.store.list(world.output, kind))


def end(world: World, job: CaptionJob) -> str:
    """What came of a bad one, in the corpus's words."""
    if not world.store.exists(world.output, key(world, job)):
        failure = world.store.get(world.output, failure_key(world.prefix, job))
        return decode(Failure, failure).reason
    caption = decode(Caption, world.store.get(world.output, key(world, job)))
    return "partial" if caption.frames.damage else "ok"
