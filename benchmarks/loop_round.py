"""One round of the loop: captions, preferences, a training, two trials; and what came of it.

Nobody does anything here but people who upload films and say what they think, and whoever planted
the bad adapter. What the fleet does follows from the bucket. Knows nothing of who is killed.
"""

import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.canary_fleet import publish
from benchmarks.learning_parts import world
from benchmarks.learning_school import Film, School, school
from benchmarks.loop_fleet import LoopFleet
from benchmarks.loop_found import found
from benchmarks.loop_kills import Kill, Kills
from benchmarks.loop_people import People
from benchmarks.loop_plans import Plan
from benchmarks.loop_stream import Stream, by
from benchmarks.reload import adapters
from infra.demo.habit import SURROUNDINGS
from infra.demo.scenes import Scene
from producer.canary.state import TrialState
from producer.feedback.journal import Journal
from shared.bucket.registry import Registry
from shared.bucket.stored import read
from shared.bucket.training import TrainingRecords
from shared.bucket.trials import TrialPages
from shared.errors import JamakError, Missing
from shared.training import Pointer, TrainOutcome
from workers.model.loading import LoadedModel, load_model

STEP_S = 0.1
LONGEST_S = 3600.0
"""Of one thing that is waited for, on a machine that has other work."""
STILL_S = 300.0
"""Without a caption: what waits then is lost."""


@dataclass(frozen=True)
class Ended:
    outcome: TrainOutcome | None
    """None: nobody trained."""
    bad: str
    """The version that was planted."""
    pointer: Pointer
    hours: float
    killed: list[str]


class Stuck(JamakError):
    """Something that the fleet was to do by itself does not come about."""

    reason = "stuck"


@dataclass(frozen=True)
class World:
    """What there is before the fleet: films, and rules."""

    yard: School
    plan: Plan
    judged: Sequence[Film]
    others: Sequence[Film]
    replay: str
    """The set of what the base model knows; empty: none."""
    forgetting: str
    """The same, of what the gate asks."""

    def films(self) -> Iterator[Film]:
        """Two that are judged, one that is not, and so on; then what is not."""
        judged, others = iter(self.judged), self.any()
        while some := list(itertools.islice(judged, 2)):
            yield from some
            yield next(others)
        yield from others

    def any(self) -> Iterator[Film]:
        return itertools.cycle(self.others)


def measure(
    plan: Plan,
    seed: int,
    base: Path,
    wanted: Callable[["Round"], list[Kill]],
    say: Callable[[str], object],
    logs: Path,
) -> dict[str, Any]:
    """Args:
    wanted: who is to be killed.
    logs: a folder for the processes' logs, if it does not end well.
    """
    with school(base, plan.base or "demo-llama", ()) as yard:
        try:
            judged = [one for one in world(6 * plan.preferences, "train", seed) if shows(one)]
            others = world(plan.others, "heldout", seed)
            made = World(
                yard,
                plan,
                yard.films("lesson", judged[: plan.preferences], seed),
                yard.films("old", others, seed),
                _known(yard, "replay", world(3 * plan.known, "train", seed + 50), plan.known),
                _known(
                    yard,
                    "held-out",
                    world(3 * plan.remembered, "heldout", seed + 100),
                    plan.remembered,
                ),
            )
            say("the films are drawn")
            with LoopFleet(yard.stack, plan.processes) as fleet:
                one = Round(made, fleet, load_model(base, model_id=yard.settings.model), say)
                ended = one.run(Kills(fleet, wanted(one), say))
            return found(one, ended, fleet.ended)
        except BaseException:
            logs.mkdir(parents=True, exist_ok=True)
            shutil.copytree(yard.stack.directory / "logs", logs, dirs_exist_ok=True)
            say(f"the logs are in {logs}")
            raise


def _known(yard: School, name: str, scenes: Sequence[Scene], n: int) -> str:
    """So many of the scenes that the habit does not belong to, with their right captions."""
    if n == 0:
        return ""
    films = yard.films(name, [one for one in scenes if not shows(one)][:n], 0)
    return yard.publish(films, yard.rows(films))


class Round:
    """Args:
    loaded: the base model.
    """

    def __init__(
        self, made: World, fleet: LoopFleet, loaded: LoadedModel, say: Callable[[str], object]
    ) -> None:
        yard, self.plan, self._made = made.yard, made.plan, made
        self.yard, self._fleet, self.loaded, self._say = yard, fleet, loaded, say
        self._store, self.settings = yard.store, yard.settings
        self._base = loaded.identity.weights_sha256
        place = self.settings.output_bucket, self.settings.output_prefix
        self.registry = Registry(yard.store, *place)
        self._records = TrainingRecords(yard.store, *place)
        self.journal = Journal(yard.store, self.settings)
        self._pages = TrialPages(yard.store, *place, self._base)
        bucket = yard.stack.videos_bucket
        self.stream = Stream(yard.store, self.settings, bucket, made.films(), self.plan.rate)
        films = [film.take.id for film in made.judged]
        self.people = People(yard.store, self.settings, films)
        self._kills: Kills | None = None

    def run(self, kills: Kills) -> Ended:
        self._kills, began = kills, time.monotonic()
        self._put_rules()
        self._until("everybody has said what he thinks", self._everybody_has_spoken)
        if self.plan.trained:
            outcome, bad = self._learned()
        else:
            self.yard.screening.jamak("retrain")
            outcome, bad = None, self._try_a_bad_one()
            self._until("it captions", lambda: bad in map(by, self.stream.told))
        self.stream.open = False
        self._drain()
        hours = (time.monotonic() - began) / 3600
        return Ended(outcome, bad, self.pointer(), hours, kills.done)

    def _learned(self) -> tuple[TrainOutcome, str]:
        """What came of the training, and the bad adapter that was sent back after it."""
        self._until("a training was started", lambda: bool(self.journal.entries()))
        outcome: TrainOutcome = self._until("it has ended", self.outcome)
        version = outcome.version
        if version is None:
            raise Stuck(f"nothing was published: {outcome.message}")
        if self.pointer().generation == 0:
            raise Stuck(f"{version} is not on trial: {outcome.why_not_activated}")
        self._until("it is promoted, or sent back", lambda: self.pointer().canary is None)
        if self.pointer().version != version:
            raise Stuck(f"{version} was not promoted: {self.pointer().history[-1].why}")
        self._until("it has told enough", lambda: self._tells(version) >= self.plan.after)
        bad = self._try_a_bad_one()
        self._until("the bad one is sent back", lambda: self.pointer().canary is None)
        return outcome, bad

    def _try_a_bad_one(self) -> str:
        bad = self._plant()
        self.yard.screening.jamak("adapters", "canary", bad, self.plan.bad_share)
        return bad

    # What there is in the bucket.

    def pointer(self) -> Pointer:
        return self.registry.pointer(self._base)

    def outcome(self) -> TrainOutcome | None:
        """Of the training that was started."""
        runs = self.journal.entries()
        return self._records.outcome(runs[0].job.id) if runs else None

    def trained(self) -> tuple[str, int]:
        """What the training does, and after how many steps; empty: nobody has begun it."""
        runs = self.journal.entries()
        told = self._records.progress(runs[0].job.id) if runs else None
        return (told.stage, told.step) if told else ("", 0)

    def trial(self) -> TrialState | None:
        """What the watcher knows of the one under way."""
        now = self.pointer()
        if now.canary is None:
            return None
        key = self._pages.state_key(now.generation)
        try:
            return read(self._store, TrialState, self.settings.output_bucket, key)
        except Missing:
            return None

    # What happens.

    def _put_rules(self) -> None:
        training, made = self.plan.training, self._made
        rule = {
            "name": "habits",
            "when": {"preferences": self.plan.preferences, "hours": 24},
            "train": {
                "stage": "dpo",
                "from": "active",
                "steps": training.steps,
                "learning_rate": training.learning_rate,
                "batch_size": training.batch_size,
                "rank": training.rank,
                "save_every": self.plan.save_every,
                **({"replay": made.replay, "replay_share": 0.5} if made.replay else {}),
            },
        }
        self._put("retraining/rules.yaml", {"rules": [rule]})
        if self.plan.policy is not None:
            remembered = {"forgetting": {"data": made.forgetting}} if made.forgetting else {}
            self._put("adapters/policy.yaml", self.plan.policy | remembered)

    def _put(self, key: str, told: dict[str, Any]) -> None:
        """As JSON, which is YAML, too."""
        key = f"{self.settings.output_prefix}{key}"
        self._store.put(self.settings.output_bucket, key, json.dumps(told).encode())

    def _everybody_has_spoken(self) -> bool:
        return self.people.said >= self.plan.preferences

    def _until(self, what: str, wanted: Callable[[], Any]) -> Any:
        """What `wanted` says, as soon as it says anything; films go on meanwhile."""
        began = time.monotonic()
        look_at = 0.0
        while True:
            self._step()
            now = time.monotonic()
            if now >= look_at:
                if told := wanted():
                    self._say(f"{what}: {now - began:.0f} s, {len(self.stream.told)} captions")
                    return told
                look_at = now + 0.5
            if now - began > LONGEST_S:
                raise Stuck(f"not after {LONGEST_S:.0f} s: {what}")

    def _step(self) -> None:
        self._fleet.tend()
        if self._kills is not None:
            self._kills.look()
        for sent, caption in self.stream.step():
            self.people.hear(sent, caption)
        time.sleep(STEP_S)

    def _tells(self, version: str) -> int:
        """Captions of films with the habit's surroundings."""
        return sum(by(one) == version and shows(one[0].film.scene) for one in self.stream.told)

    def _drain(self) -> None:
        moved_at, left = time.monotonic(), len(self.stream.waiting)
        while self.stream.waiting and time.monotonic() - moved_at < STILL_S:
            self._step()
            if len(self.stream.waiting) != left:
                moved_at, left = time.monotonic(), len(self.stream.waiting)

    def _plant(self) -> str:
        """An adapter whose numbers are noise; its version."""
        with tempfile.TemporaryDirectory(dir=self.yard.stack.directory) as folder:
            adapters(self.loaded, Path(folder))
            return publish(self.registry, Path(folder) / "left", self.loaded.identity)


def shows(scene: Scene) -> bool:
    """The habit belongs to it."""
    return scene.background in SURROUNDINGS
