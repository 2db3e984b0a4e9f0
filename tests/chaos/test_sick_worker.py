"""A real worker whose machine is sick, beside one that is well. Its short siblings are in
tests/integration/test_sick_machines.py."""

import shutil
from pathlib import Path

import pytest

from infra.demo.clips import Clip, film
from infra.demo.scenes import single
from infra.local.metrics import ask, is_ready
from infra.local.processes import stop
from shared.bucket.keys import failure_key
from tests.captioner import Captioner
from tests.waiting import wait_until
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model, pytest.mark.soak]

JOBS = 40


def test_one_sick_worker_of_two_fails_no_job(world: World, tmp_path: Path) -> None:
    well = Captioner(world, tmp_path)
    scratch = tmp_path / "scratch"
    sick = Captioner(world, tmp_path, JAMAK_SCRATCH_DIR=str(scratch))
    try:
        well.wait()
        sick.wait()
        shutil.rmtree(scratch)
        scratch.write_bytes(b"in its place")
        clip = film(
            single("black", "red", "circle", "rightwards"),
            Clip(7, fps=12, duration_s=2.0),
            tmp_path / "a.mp4",
        )
        jobs = [world.job(world.upload(clip, f"sick-{i}.mp4")) for i in range(JOBS)]
        world.send(*jobs)
        wait_until(lambda: not is_ready(sick.port), 60, "the sick one to say so")
        assert "takes nothing for now: scratch" in ask(sick.port, "/readyz")[1]
        assert ask(sick.port, "/livez")[0] == 200
        for job in jobs:
            world.caption(job)
        assert not any(
            world.store.exists(world.output, failure_key(world.prefix, job)) for job in jobs
        )
        assert sick.metric("jamak_jobs_retried_total") == 0
        assert 1 <= sick.metric("jamak_jobs_handed_on_total", reason="sick_machine") <= 4
        assert sick.metric("jamak_intake_paused", reason="scratch") == 1
        scratch.unlink()
        wait_until(lambda: is_ready(sick.port), 10, "it to be well")
        stop([well.process], patience_s=20)
        again = world.job(world.upload(clip, "again.mp4"))
        world.send(again)
        assert world.caption(again).text
        assert world.queues.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}
    finally:
        print(sick.process.log.read_text()[-4000:])
        stop([well.process, sick.process], patience_s=20)
