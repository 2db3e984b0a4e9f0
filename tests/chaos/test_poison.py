"""Videos that really kill their workers end on the record, and take no healthy one along."""

import random
import time

import pytest

from tests.crew import Crew
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

KILLERS = ["kills-a", "kills-b", "kills-c"]


@pytest.mark.parametrize("good", [60, pytest.param(300, marks=pytest.mark.soak)])
def test_three_killers_take_none_of_the_good_ones_along(crew: Crew, good: int) -> None:
    healthy = [f"good-{i:03}" for i in range(good)]
    names = [*healthy, *KILLERS]
    random.Random(7).shuffle(names)
    crew.send(names, 100)
    crew.fleet.size = 3

    def ended() -> bool:
        crew.fleet.fill_up()
        time.sleep(0.5)
        return len(crew.fleet.failures()) + len(crew.fleet.versions()) == len(names)

    wait_until(ended, 60, "all of them")
    assert crew.fleet.failures() == dict.fromkeys(KILLERS, 1)
    assert crew.fleet.versions() == dict.fromkeys(healthy, 1)
    assert crew.queues.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}
    for name in KILLERS:
        told = crew.failure(name)
        assert (told["reason"], told["deaths_alone"]) == ("kills_workers", 2)
        assert told["deaths"] >= 2
        assert len(set(told["workers"])) == told["deaths"] + 2
    # A killer dies four times; three of them can share a worker while they are in company.
    assert len(crew.fleet.ended) <= 4 * len(KILLERS)
