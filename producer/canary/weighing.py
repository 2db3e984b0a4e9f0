"""From observations to evidence: what was seen of both adapters' captions is compared, one by one.

It ends with the first comparison that is enough, so it does not matter in which portions the
observations came. Knows nothing of where they lie, nor of the pointer.
"""

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from producer.canary.eprocess import Evidence
from producer.canary.measures import ALPHA, Measure, Name, longer_by, measures
from producer.canary.state import Heap, Side, TrialState, Verdict, Votes, Weighed
from shared import __version__
from shared.messages import Arm
from shared.trials import Observation

ARMS: tuple[Arm, Arm] = ("canary", "incumbent")
MOST_WAITING = 1000
"""Of the canary's captions, while the incumbent has none."""


class Weighing:
    """Goes on from a state.

    Args:
        margin: by so much the share of bad captions may be larger, from 0 to 1.
    """

    def __init__(self, state: TrialState, margin: float) -> None:
        self._before, self.verdict = state, state.verdict
        self._measures = {one.name: one for one in measures(margin)}
        found = {name: state.weighed.get(name, Weighed()) for name in self._measures}
        self._compared = {name: one.compared for name, one in found.items()}
        self._worse = {name: Evidence(one.worse) for name, one in found.items()}
        self._fine = {name: Evidence(one.fine) for name, one in found.items()}
        self._sides = {arm: _counts(state.sides.get(arm, Side())) for arm in ARMS}
        self._signals = {arm: dict(state.sides.get(arm, Side()).signals) for arm in ARMS}
        self._waiting = deque((one.bad, one.syllables) for one in state.waiting)
        heap = state.heap
        self._captions, self._bad, self._syllables = heap.captions, heap.bad, heap.syllables
        self._voted = {arm: _counts(state.voted.get(arm, Votes())) for arm in ARMS}
        self._pairs, self._votes = state.pairs, list(state.votes)

    def see(self, observations: Iterable[Observation]) -> None:
        """Both of a pair are among the same."""
        halves: dict[str, Observation] = {}
        for one in sorted(observations, key=lambda seen: seen.at):
            if self.verdict:
                return
            self._count(one)
            if one.pair is None:
                if not one.pairable:
                    self._single(one)
            elif (other := halves.pop(one.pair, None)) is None:
                halves[one.pair] = one
            elif other.arm != one.arm:
                self._pairs += 1
                canary, incumbent = (one, other) if one.arm == "canary" else (other, one)
                self._compare(
                    bool(canary.bad) - bool(incumbent.bad),
                    longer_by(canary.syllables, incumbent.syllables),
                )

    def vote(self, name: str, arm: Arm, liked: bool) -> None:
        """Of a person on a published caption; the same `name` counts once."""
        if self.verdict or name in self._votes:
            return
        self._votes.append(name)
        for place in (self._sides[arm], self._voted[arm]):
            place["votes"] += 1
            place["disliked"] += not liked
        ours, theirs = (self._voted[each] for each in ARMS)
        if ours["votes"] and theirs["votes"]:
            difference = ours["disliked"] / ours["votes"] - theirs["disliked"] / theirs["votes"]
            for votes in (ours, theirs):
                votes["votes"] = votes["disliked"] = 0
            self._weigh({"disliked": difference})

    def refused(self, why: str) -> None:
        """A worker cannot load the canary: so cannot others, for its content is what it is."""
        self.verdict = self.verdict or self._judge("worse", f"a worker refused it: {why}")

    def state(self, **changed: object) -> TrialState:
        """What is known now."""
        return self._before.model_copy(
            update={
                "pairs": self._pairs,
                "sides": {
                    arm: Side(**counts, signals=self._signals[arm])
                    for arm, counts in self._sides.items()
                },
                "waiting": tuple(
                    Heap(captions=1, bad=bad, syllables=syllables)
                    for bad, syllables in self._waiting
                ),
                "heap": Heap(captions=self._captions, bad=self._bad, syllables=self._syllables),
                "voted": {arm: Votes(**counts) for arm, counts in self._voted.items()},
                "weighed": {
                    name: Weighed(
                        compared=self._compared[name],
                        worse=self._worse[name].logs,
                        fine=self._fine[name].logs,
                    )
                    for name in self._measures
                },
                "votes": tuple(self._votes),
                "verdict": self.verdict,
                "updated_at": datetime.now(UTC),
                "jamak": __version__,
                **changed,
            }
        )

    def _count(self, one: Observation) -> None:
        side = self._sides[one.arm]
        side["captions"] += 1
        side["published"] += one.published
        side["bad"] += bool(one.bad)
        side["bad_published"] += bool(one.bad) and one.published
        side["syllables"] += one.syllables
        signals = self._signals[one.arm]
        for name in one.bad:
            signals[name] = signals.get(name, 0) + 1

    def _single(self, one: Observation) -> None:
        """Different videos: each of the canary's with those of the incumbent that came since the
        last one, and at least with one."""
        if one.arm == "canary":
            self._waiting.append((int(bool(one.bad)), one.syllables))
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
        else:
            self._captions += 1
            self._bad += bool(one.bad)
            self._syllables += one.syllables
        if self._waiting and self._captions:
            bad, syllables = self._waiting.popleft()
            bad_before, long_before = self._bad / self._captions, self._syllables / self._captions
            self._captions = self._bad = self._syllables = 0
            self._compare(bad - bad_before, longer_by(syllables, long_before))

    def _compare(self, bad: float, longer: float) -> None:
        self._weigh({"bad": bad, "longer": longer, "shorter": -longer})

    def _weigh(self, differences: dict[Name, float]) -> None:
        for name, difference in differences.items():
            measure = self._measures[name]
            self._compared[name] += 1
            self._worse[name] = measure.worse(self._worse[name], difference)
            if measure.limit is not None:
                self._fine[name] = measure.fine(self._fine[name], difference)
        for measure in self._measures.values():
            if self._worse[measure.name].is_enough(measure.alpha):
                self.verdict = self._judge("worse", self._told(measure))
                return
        asked = [one for one in self._measures.values() if one.limit is not None]
        if all(self._fine[one.name].is_enough(ALPHA) for one in asked):
            self.verdict = self._judge("not worse", self._told(self._measures["bad"]))

    def _told(self, measure: Measure) -> str:
        """The figures, for people."""
        canary, incumbent = (self._sides[arm] for arm in ARMS)
        if measure.name == "bad":
            return (
                f"{canary['bad']} of {canary['captions']} captions are bad, "
                f"and {incumbent['bad']} of {incumbent['captions']} of the adapter in use"
            )
        if measure.name == "disliked":
            return (
                f"{canary['disliked']} of {canary['votes']} votes are against it, "
                f"and {incumbent['disliked']} of {incumbent['votes']} against the adapter in use"
            )
        means = [side["syllables"] / max(side["captions"], 1) for side in (canary, incumbent)]
        return (
            f"captions are far {measure.name}: {means[0]:.0f} syllables, "
            f"and {means[1]:.0f} of the adapter in use"
        )

    @staticmethod
    def _judge(what: Literal["worse", "not worse"], why: str) -> Verdict:
        return Verdict(what=what, why=why, at=datetime.now(UTC))


def _counts(told: Side | Votes) -> dict[str, int]:
    return {name: value for name, value in told if isinstance(value, int)}
