"""How long a round of the loop is, and who is killed in it at which moments."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.learning_parts import FULL as LEARNING
from benchmarks.learning_school import Training
from benchmarks.loop_kills import Kill
from infra.local.stack import DEMO_MODEL

if TYPE_CHECKING:
    from benchmarks.loop_round import Round


@dataclass(frozen=True)
class Plan:
    base: str
    """One of infra/demo/bases.py; empty: the shipped model."""
    preferences: int
    others: int
    """Films that nobody judges, again and again under other names."""
    known: int
    """Films with none of the habit's surroundings and their right captions, which the rule replays;
    0: there is no such set."""
    remembered: int
    """Others of these, of which the gate lets nothing be forgotten; 0: it asks for none."""
    rate: float
    """Films a second, at most."""
    training: Training
    save_every: int
    """Steps between two checkpoints."""
    policy: dict[str, Any] | None
    """None: the scores of the training decide."""
    after: int
    """Captions by the new adapter of films with the habit's surroundings, at least."""
    bad_share: str = "10%"
    trained: bool = True
    """False: the training is asked for and waits for a trainer; the bad adapter goes on trial at
    once, beside the base model, and that does not end."""

    @property
    def processes(self) -> tuple[str, ...]:
        """Of the Procfile."""
        others = ("retrainer", "trainer", "watcher") if self.trained else ()
        return ("listener", "captioner", *others)


FULL = Plan(
    base="habit",
    preferences=200,
    others=100,
    known=100,
    remembered=100,
    rate=3.0,
    training=LEARNING.dpo,
    save_every=20,
    policy={"canary": "50%"},  # half: so the trial ends soonest
    after=60,
)
QUICK = Plan(
    base="",
    preferences=2,
    others=2,
    known=0,
    remembered=0,
    rate=1.0,
    training=Training(2, 1e-3, batch_size=1, rank=4),
    save_every=2,
    policy=None,
    after=0,
    bad_share="50%",
    trained=False,
)


def base_of(plan: Plan) -> Path:
    """Its folder; it is built first if it is not there yet."""
    if not plan.base:
        return DEMO_MODEL
    from infra.demo.bases import base

    return base(plan.base)


def nobody(one: "Round") -> list[Kill]:
    return []


def twice_each(one: "Round") -> list[Kill]:
    """Watcher, retrainer, trainer and Redis, in the order of what happens."""
    plan, steps = one.plan, one.plan.training.steps

    def step(share: float) -> bool:
        stage, done = one.trained()
        return (stage == "train" and done >= share * steps) or stage in ("after", *JUDGED)

    def weighed(captions: int) -> bool:
        trial = one.trial()
        return trial is not None and trial.side("canary").captions >= captions

    def judged(key: str) -> bool:
        trial = one.trial()
        return key.endswith("/state.json") and trial is not None and trial.verdict is not None

    return [
        Kill(
            "retrainer",
            "while people speak",
            lambda: one.people.said >= plan.preferences / 2,
        ),
        Kill(
            "retrainer",
            "behind its claim, before the job is sent",
            behind=lambda key: key.endswith("retraining/000001.json"),
        ),
        Kill("trainer", "after a third of the steps", lambda: step(1 / 3)),
        Kill("redis", "after two thirds of the steps", lambda: step(2 / 3)),
        Kill("trainer", "while it judges", lambda: one.trained()[0] in JUDGED),
        Kill("watcher", "while the new adapter is on trial", lambda: weighed(20)),
        Kill("redis", "while the new adapter is on trial", lambda: weighed(60)),
        Kill("watcher", "behind its verdict, before it promotes", behind=judged),
    ]


JUDGED = ("judge", "publish")
"""The last stages of a training."""
