"""`jamak adapters watch` as a process, killed at each of its writes: before the store hears of it,
and before it hears of the store. Another one follows, and does what was left, once."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from infra.local.processes import stop
from producer.canary.lease import DEAD_S, Held
from tests.fronts import Answer, Asked, Truth, front
from tests.trial_place import BEGUN, EXPECTED, PORTIONS, Place, how
from tests.waiting import wait_until
from tests.warm import WarmProcess
from tests.world import World

pytestmark = pytest.mark.integration

WRITES = (("watcher.json", 1), ("state.json", 1), ("state.json", 2), ("active.json", 1))
"""What a watcher writes in its order, and the how many-th time: its lease, what it knows after each
portion, and the pointer."""


class Story:
    """A trial that a first watcher is killed in, and that a second one ends.

    Args:
        fatal: the name of an object, and which of its writings the first one dies of.
        heard: the store has done it by then.
    """

    def __init__(self, world: World, fatal: tuple[str, int], heard: bool, folder: Path) -> None:
        self.place, self._fatal, self._heard = Place(world), fatal, heard
        self._folder, self._endpoint = folder, ""
        self.watchers: list[WarmProcess] = []
        self.writes: list[tuple[str, str, float]] = []
        """Who wrote (of the lease), what, and when; of what the store took."""
        self._asked: list[str] = []
        self._told = 0

    def begin(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.place.begin()
        self._tell_more()
        self._start()

    def _tell_more(self) -> None:
        self.place.tell_portion(PORTIONS[self._told])
        self._told += 1

    def _start(self) -> None:
        name = f"watcher-{len(self.watchers)}"
        env = {**os.environ, **self.place.world.env, "AWS_ENDPOINT_URL": self._endpoint}
        command = ["jamak", "adapters", "watch"]
        log = self._folder / f"{name}.log"
        self.watchers.append(WarmProcess(name, command, log=log, env=env, cwd=Path.cwd()))

    def over(self) -> bool:
        """After what there is to do by now."""
        if len(self.watchers) == 1 and self.watchers[0].poll() is not None:
            self._start()
        if self._told == 1 and self.written("state.json"):
            self._tell_more()
        return len(self.watchers) == 2 and self.written("active.json") > 0

    def put(self, asked: Asked, truth: Truth) -> Answer | None:
        name = asked.key.rpartition("/")[2]
        self._asked.append(name)
        dies = len(self.watchers) == 1 and self._fatal == (name, self._asked.count(name))
        if dies and not self._heard:
            return self._kill()
        answer = truth(asked)
        if answer.status == 200:
            who = Held.model_validate_json(asked.body).holder if name == "watcher.json" else ""
            self.writes.append((name, who, time.monotonic()))
        return self._kill() if dies else answer

    def _kill(self) -> None:
        os.kill(self.watchers[0].pid, signal.SIGKILL)

    def holders(self) -> dict[str, tuple[float, float]]:
        """Who held the lease, from when to when."""
        found: dict[str, tuple[float, float]] = {}
        for name, who, at in self.writes:
            if name == "watcher.json" and who:
                found[who] = found.get(who, (at, at))[0], at
        return found

    def written(self, name: str) -> int:
        return sum(one == name for one, _, _ in self.writes)


@contextmanager
def telling(stories: dict[str, Story], endpoint: str) -> Iterator[str]:
    """A store in front of the real one, in which each story hears of its own writes."""

    def lie(asked: Asked, truth: Truth) -> Answer | None:
        whose = [one for prefix, one in stories.items() if f"/{prefix}adapters/" in asked.key]
        return whose[0].put(asked, truth) if whose and asked.method == "PUT" else truth(asked)

    with front(endpoint, lie) as address:
        yield address


def test_killed_at_any_write_another_one_follows_and_nothing_is_counted_twice(
    world: World, aws: dict[str, str], tmp_path: Path
) -> None:
    stories: dict[str, Story] = {}
    for number, fatal in enumerate(WRITES):
        for heard in (False, True):
            story = Story(world, fatal, heard, tmp_path / f"{number}-{heard}")
            stories[story.place.world.prefix] = story
    # All at once: nearly all of the time is that for which a dead one's lease still holds.
    with telling(stories, aws["AWS_ENDPOINT_URL"]) as endpoint:
        try:
            for story in stories.values():
                story.begin(endpoint)
            waiting = list(stories.values())

            def all_over() -> bool:
                waiting[:] = [one for one in waiting if not one.over()]
                return not waiting

            wait_until(all_over, 120, "the end of all trials")
        finally:
            stop([one for story in stories.values() for one in story.watchers])
    for story in stories.values():
        check(story)


def check(story: Story) -> None:
    assert story.watchers[0].poll() == -signal.SIGKILL
    assert how(story.place.pointer) == [BEGUN, ("canary ended", "watch")]
    state = story.place.state(1)
    assert (state.sides, state.weighed) == (EXPECTED.sides, EXPECTED.weighed)
    # What was written once was not written again.
    assert (story.written("state.json"), story.written("active.json")) == (2, 1)
    # One after the other: nobody takes a lease whose holder may be alive.
    times = list(story.holders().values())
    assert all(later[0] - before[1] >= DEAD_S for before, later in pairwise(times))
