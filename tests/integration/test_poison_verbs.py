"""What was set aside is seen, and goes back to its queue when somebody wants it to."""

import json
from typing import Any

import pytest
import redis

from producer.jobs import high_water_marks
from producer.verbs import completion
from producer.verbs.captions import status
from producer.verbs.poison import poison
from shared.broker.apps import leased_queues, train_prefix
from shared.broker.leased_queues import History, LeasedQueues
from shared.errors import Unfinished, UsageError
from shared.messages import Video
from tests.verbs import inside
from tests.world import World

pytestmark = pytest.mark.integration

QUEUE = "caption.t4"
UNWRITABLE = "unwritable: neither its record nor its failure could be written: closed to us"


@pytest.fixture(autouse=True)
def _nothing_else(world: World) -> None:
    with redis.Redis.from_url(world.redis_url) as client:
        for key in client.scan_iter(f"{world.redis_prefix}*"):
            client.delete(key)


def set_aside(queues: LeasedQueues, queue: str, reason: str) -> None:
    """The next message of a queue."""
    delivery = queues.take(queues.new_lease(), [queue])
    assert delivery is not None
    assert queues.poison(delivery.lease, reason)


def told(world: World, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(inside(world, poison, *arguments, "--json").stdout))


def some(world: World) -> list[dict[str, Any]]:
    """A job whose end could not be written, rubbish, and something of the trainers' side."""
    world.send(world.job(Video(bucket=world.videos, key="a b.mp4", etag="e", size_bytes=1)))
    set_aside(world.queues, QUEUE, UNWRITABLE)
    world.queues.put(QUEUE, ["[\x1b[31mrubbish"])
    set_aside(world.queues, QUEUE, "it lacks what a message has")
    training = leased_queues(world.settings, train_prefix(world.settings))
    training.put("train", ["[]"])
    set_aside(training, "train", "no job")
    found = told(world, "list")
    assert (found["count"], found["by_queue"]) == (3, {QUEUE: 2, "train": 1})
    return list(found["set_aside"])


def test_what_was_set_aside_is_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job, rubbish, train = some(world)
    assert (job["queue"], job["reason"]) == (QUEUE, UNWRITABLE)
    assert job["about"] == f"s3://{world.videos}/a b.mp4"
    assert [one["about"] for one in (rubbish, train)] == ["", ""]
    assert "a b.mp4" in told(world, "show", job["id"])["message"]
    shown = inside(world, poison, "list").stdout
    assert all(one["id"] in shown for one in (job, rubbish, train))
    with monkeypatch.context() as patch:
        for name, value in world.env.items():
            patch.setenv(name, value)
        assert completion.set_aside(job["id"][:8]) == [job["id"]]
    assert "1 more" in inside(world, poison, "list", "--limit", "2").stdout
    assert "\x1b" not in inside(world, poison, "show", rubbish["id"]).stdout
    assert "set aside, see `jamak poison list`: 2 captions" in inside(world, status).stdout
    with pytest.raises(UsageError, match="nothing of this id"):
        inside(world, poison, "show", "0" * 12)


def test_what_is_wanted_goes_back_at_most_once(world: World) -> None:
    job, *_ = some(world)
    assert told(world, "redrive", job["id"]) == {"count": 1, "sent": 0}
    assert told(world, "redrive", job["id"], "--go") == {"count": 1, "sent": 1}
    back = world.queues.take(world.queues.new_lease(), [QUEUE])
    assert back is not None
    assert back.history == History()
    assert world.queues.waiting(QUEUE) == 0
    with pytest.raises(UsageError, match=job["id"]):
        inside(world, poison, "redrive", job["id"], "--go")
    assert told(world, "redrive", "--reason", "lacks", "--go") == {"count": 1, "sent": 1}
    assert told(world, "redrive", "--go") == {"count": 1, "sent": 1}  # the trainers'
    assert told(world, "list")["count"] == 0
    assert "nothing is set aside" in inside(world, poison, "list").stdout


def test_what_nobody_wants_is_forgotten_once_somebody_says_yes(world: World) -> None:
    job, _, train = some(world)
    assert told(world, "drop", job["id"]) == {"count": 1, "dropped": 0}
    assert inside(world, poison, "drop", job["id"], input="n\n").exit_code == 1
    assert told(world, "list")["count"] == 3
    assert "forgotten: 1" in inside(world, poison, "drop", job["id"], input="y\n").stdout
    with pytest.raises(UsageError, match=job["id"]):
        inside(world, poison, "drop", job["id"], "--yes")
    assert told(world, "drop", "--reason", "lacks", "--yes") == {"count": 1, "dropped": 1}
    assert [one["id"] for one in told(world, "list")["set_aside"]] == [train["id"]]
    assert told(world, "drop", "--yes") == {"count": 1, "dropped": 1}  # the trainers'
    assert told(world, "drop", "--yes") == {"count": 0, "dropped": 0}
    assert world.queues.waiting(QUEUE) == 0


def test_a_queue_without_room_takes_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    some(world)
    monkeypatch.setattr(high_water_marks, "MOST", 1)
    done = inside(world, poison, "redrive", "--go")
    assert isinstance(done.exception, Unfinished)
    assert done.exception.told == {"count": 3, "sent": 2}
    assert told(world, "list")["by_queue"] == {QUEUE: 1}
