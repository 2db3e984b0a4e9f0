"""A canary that is no worse is not sent back because of what both have trouble with."""

import random
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from producer.canary.weighing import Weighing
from shared.errors import EmptyCaption
from shared.messages import AdapterUsed
from shared.training import Canary
from shared.trials import Observation, arm_of, is_paired
from tests.trials import fresh
from workers.jobs.compared import Comparison
from workers.jobs.trials import Draw, Trial

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = Canary(version="c" * 12, share=0.1, paired=True, since=SINCE)
TRIAL = Trial(3, CANARY, None)
LONGEST = 5000


class Seen:
    """For Trials."""

    def __init__(self) -> None:
        self.all: list[Observation] = []

    def see(self, generation: int, observations: list[Observation]) -> None:
        self.all += observations


def captioned(
    job: str,
    chance: random.Random,
    silent: float = 0.0,
    long: float = 0.0,
    retried: float = 0.0,
    canary_retried: float = 0.0,
    pairs: bool = True,
) -> list[Observation]:
    """By two adapters that are alike: of each a caption is bad with the same probability.

    Args:
        silent: the share of videos of which neither has anything to say;
        long: that of those in segments, which are bad ten times as often;
        retried: that of jobs that need a second try, whoever captions them;
        canary_retried: that of those besides whose turn is the canary's.
    """
    in_parts, nothing = chance.random() < long, chance.random() < silent
    arm, seen = arm_of(job, TRIAL.generation, CANARY), Seen()
    pairable = pairs and not in_parts
    paired = pairable and is_paired(job, TRIAL.generation, CANARY)
    comparison = Comparison(Draw(TRIAL, arm, paired, pairable))
    failing = retried + (canary_retried if arm == "canary" else 0.0)
    attempt = 2 if chance.random() < failing else 1

    def told(canary: bool) -> Any:
        if nothing:
            raise EmptyCaption("nothing")
        by = AdapterUsed(version=CANARY.version, generation=3) if canary else None
        bad = chance.random() < (0.5 if in_parts else 0.05)
        flags = ("repetitive",) if bad else ()
        text = "가" * 40
        return SimpleNamespace(adapter=by, said_by={by}, segments=(), flags=flags, text=text)

    describer: Any = SimpleNamespace(
        instead="", has_seen=True, describe_again=lambda generation: told(generation is not None)
    )
    if nothing:
        comparison.said_nothing(job, EmptyCaption.reason, describer, lambda: None)
        comparison.observe_nothing(job, seen)  # type: ignore[arg-type]
    else:
        assert comparison.made(told(arm == "canary"), describer) is not None
        comparison.observe(job, attempt, lambda: None, seen)  # type: ignore[arg-type]
    return seen.all


def verdict(seed: int, **shares: Any) -> Weighing:
    weighing, chance = fresh(generation=3), random.Random(seed)
    for number in range(LONGEST):
        weighing.see(captioned(f"{seed}-{number}", chance, **shares))
        if weighing.verdict:
            break
    return weighing


@pytest.mark.parametrize("shares", [{"silent": 0.2}, {"long": 0.5}, {"retried": 0.3}])
def test_alike_is_alike_whatever_the_videos(shares: dict[str, float]) -> None:
    found = [verdict(seed, **shares).verdict for seed in range(3)]
    assert "worse" not in {one and one.what for one in found}


@pytest.mark.parametrize("pairs", [True, False])
def test_a_canary_whose_jobs_need_another_try_is_worse(pairs: bool) -> None:
    found = verdict(0, canary_retried=0.5, pairs=pairs)
    assert found.verdict is not None
    assert found.verdict.what == "worse"
    assert found.state().side("incumbent").signals.keys() <= {"repetitive"}
