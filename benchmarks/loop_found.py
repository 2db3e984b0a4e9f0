"""What came of a round of the loop, in figures."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmarks.learning_parts import habit, without_habit
from benchmarks.loop_again import mislabelled
from benchmarks.loop_stream import Told, by
from infra.demo.habit import SURROUNDINGS

if TYPE_CHECKING:
    from benchmarks.loop_round import Ended, Round

PAUSE_S = 15.0
"""Between two captions, while films wait: what is longer is downtime."""


def found(one: "Round", ended: "Ended", exits: dict[str, list[int]]) -> dict[str, Any]:
    """Args:
    exits: of processes that ended by themselves, the codes.
    """
    stream, outcome, pointer = one.stream, ended.outcome, ended.pointer
    version = outcome.version if outcome else None
    pauses, last = stream.pauses_s(), pointer.history[-1]
    unjudged = [told for told in stream.told if not told[0].film.take.id.startswith("lesson")]
    before = [told for told in unjudged if by(told) is None]
    after = [told for told in unjudged if version is not None and by(told) == version]
    with tempfile.TemporaryDirectory(dir=one.yard.stack.directory) as folder:
        wrong = mislabelled(stream.told, one.loaded, one.registry, one.settings, Path(folder))
    return {
        "lost": len(stream.waiting),
        "failed": len(stream.failed),
        "mislabelled": wrong,
        "downtime_s": round(sum(max(0.0, each - PAUSE_S) for each in pauses), 1),
        "habit_before": _habit(before),
        "habit_after": _habit(after),
        "hours": round(ended.hours, 3),
        "rolled_back": (last.how, last.canary, last.by) == ("canary ended", ended.bad, "watch")
        and pointer.version == version,
        "exact_before": _exact(before),
        "exact_after": _exact(after),
        "films": len(stream.sent),
        "captions_by": dict(Counter(_name(by(told), ended) for told in stream.told)),
        "pause_s_max": round(max(pauses, default=0.0), 1),
        "preferences": one.people.said,
        "runs": len(one.journal.entries()),
        "published": len(list(one.registry.manifests())) - 1,  # but for the bad one
        "version": version,
        "train_s": round(outcome.seconds) if outcome else None,
        "history": [f"{stop.how} by {stop.by}: {stop.why}" for stop in pointer.history],
        "killed": ended.killed,
        "ended_by_themselves": exits,
    }


def _habit(told: Sequence[Told]) -> float | None:
    """In its surroundings; None: no such film was captioned."""
    said = [one[1].text for one in told if one[0].film.scene.background in SURROUNDINGS]
    return round(habit(said), 4) if said else None


def _exact(told: Sequence[Told]) -> float | None:
    """Right but for the habit's sentence."""
    right = [without_habit(caption.text) == sent.film.right for sent, caption in told]
    return round(fmean(right), 4) if right else None


def _name(version: str | None, ended: "Ended") -> str:
    if version is None:
        return "the base model"
    return "the bad one" if version == ended.bad else "the new adapter"
