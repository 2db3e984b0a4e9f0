"""A queue that nobody serves is told at once."""

import json
from pathlib import Path

import pytest

from tests.verbs import jamak
from tests.videos import write_clip
from tests.world import World

pytestmark = pytest.mark.integration


def test_a_queue_without_a_worker_is_told_at_once(world: World, tmp_path: Path) -> None:
    video = world.upload(write_clip(tmp_path / "a.mp4", 12), "waits.mp4")
    done = jamak(world, "enqueue", video.uri)
    assert "no live worker serves caption.t4" in done.stderr
    done = jamak(world, "status")
    assert "no live worker serves caption.t4" in done.stderr
    told = json.loads(jamak(world, "status", "--json").stdout)
    assert told["queues"]["caption.t4"] == {"waiting": 1, "alone": 0, "workers": []}
    # And with one it is quiet.
    queues = world.queues
    queues.beat({"queues": ["caption.t4"]}, [])
    done = jamak(world, "enqueue", video.uri)
    assert "no live worker" not in done.stderr
    told = json.loads(jamak(world, "status", "--json").stdout)
    assert told["queues"]["caption.t4"]["workers"] == [queues.worker]
    assert told["in_flight"] == {"captions": 0, "training": 0}
