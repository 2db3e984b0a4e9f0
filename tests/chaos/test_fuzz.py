"""Ten thousand messages that are none, or nearly: no crash, no hang, each one accounted for."""

import copy
import json
import random
from typing import Any

import pytest

from benchmarks.delivery_jobs import job_of
from shared.broker.apps import CAPTION_TASK
from shared.broker.leased_queues import LeasedQueues
from tests.crew import QUEUE, Crew
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

ODD: list[Any] = [None, True, -1, 10**30, 0.5, "", "x", "보라", [], {}, [[]], {"a": {}}, "\ud800"]


def message(name: str) -> dict[str, Any]:
    """As Celery sends it."""
    body = [[job_of(name, 0).model_dump(mode="json")], {}, {}]
    return {
        "body": json.dumps(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": name, "task": CAPTION_TASK, "lang": "py", "argsrepr": "", "retries": 0},
        "properties": {
            "body_encoding": "utf-8",
            "correlation_id": name,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_mode": 2,
            "delivery_tag": name,
            "priority": 0,
        },
    }


def spoilt(rng: random.Random, value: Any) -> Any:
    """The same with one thing in it that is not as it should be; names stay, to be counted by."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice([key for key in value if key not in ("key", "size_bytes")] or [None])
        if name is not None:
            value = {**value, name: spoilt(rng, value[name])}
            if rng.random() < 0.1:
                del value[name]
            return value
    if isinstance(value, list) and value and rng.random() < 0.8:
        return [spoilt(rng, value[0]), *value[1:]]
    return copy.deepcopy(rng.choice(ODD))


def fuzzed(rng: random.Random, number: int) -> bytes:
    name = f"fuzz-{number:05}"
    good = message(name)
    kind = rng.randrange(8)
    if kind == 0:
        return json.dumps(good).encode()
    if kind == 1:
        return rng.randbytes(rng.randrange(60))
    if kind == 2:
        text = json.dumps(good).encode()
        return text[: rng.randrange(len(text))]
    if kind == 3:
        body = json.loads(good["body"])
        good["body"] = json.dumps(spoilt(rng, body))
    elif kind == 4:
        good = spoilt(rng, good)
    elif kind == 5:
        good["headers"] = spoilt(rng, good["headers"])
        good["headers" if rng.random() < 0.5 else "properties"] = spoilt(rng, good["properties"])
    elif kind == 6:
        odd = rng.choice(["eta", "expires", "timelimit", "task", "chord", "ignore_result"])
        good["headers"][odd] = rng.choice(["2999-01-01T00:00:00", [1, 2], "no.such.task", 5, {}])
    else:
        item = json.dumps(good)
        return rng.choice([b"12\n\n", b"12\n{}\n", b"-1\n\n", b"x\n{\n"]) + item.encode()
    return json.dumps(good).encode()


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_fuzzed_messages_are_settled_one_way_or_another(crew: Crew, count: int) -> None:
    rng = random.Random(11)
    queues: LeasedQueues = crew.queues
    worker = crew.start()
    for start in range(0, count, 500):
        items = [fuzzed(rng, number) for number in range(start, start + 500)]
        queues.redis.lpush(f"{queues.prefix}{QUEUE}", *items)

    def empty() -> bool:
        return queues.waiting(QUEUE) + queues.counts()["in_flight"] == 0

    wait_until(empty, 120, "all of them to be settled")
    assert worker.poll() is None
    counts = queues.counts()
    done = sum(note.what == "done" for note in crew.fleet.notes())
    failed = len(crew.fleet.failures())
    assert done + failed + counts["poison"] + counts["delayed"] == count
    assert min(done, counts["poison"]) > count / 10
    # It still works.
    crew.send(["after"])
    crew.wait_for("done", "after")
