"""What each part of `benchmarks.learning` teaches, and how it is judged: one function each.

Films that are trained on show combinations of the training split, films that are asked about held-
out ones. A part's seed is that of its films and of its trainings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.learning_school import Film, School, Training, school
from infra.demo.captions import HABIT, caption, parse
from infra.demo.habit import SURROUNDINGS
from infra.demo.scenes import (
    DIAGONALS,
    KNOWN,
    NEW,
    Kind,
    Scene,
    Split,
    Vocabulary,
    reverse,
    sample_scenes,
)
from infra.local.stack import DEMO_MODEL

MODELS = DEMO_MODEL.parent
Figures = dict[str, float]
MIX: dict[Kind, float] = {"single": 0.5, "two_objects": 0.2, "scene_change": 0.2, "empty": 0.1}
"""Of the films of a whole world."""


@dataclass(frozen=True)
class Plan:
    """Numbers of films, and the trainings."""

    lesson: int
    world: int
    """Films of a whole world, for the alignment."""
    replay: int
    replay_share: float
    asked: int
    """About each of what is asked."""
    held_out: int
    """Of the films that are trained on, for the evaluation of the trainer itself."""
    draws: int
    align: Training
    sft: Training
    recover: Training
    dpo: Training
    early: Training
    motion: Training


FULL = Plan(
    lesson=400,
    world=1200,
    replay=600,
    replay_share=0.6,
    asked=100,
    held_out=16,
    draws=4,
    align=Training(300, 5e-3),
    sft=Training(250, 2e-3),
    recover=Training(400, 3e-3),
    dpo=Training(60, 3e-4, batch_size=8),
    early=Training(150, 5e-3),
    motion=Training(120, 3e-3, batch_size=8),
)
BRIEF = Training(2, 1e-3, batch_size=2)
QUICK = Plan(6, 6, 4, 0.5, 4, 2, 2, BRIEF, BRIEF, BRIEF, BRIEF, BRIEF, BRIEF)


def sft(plan: Plan, seed: int) -> Figures:
    """A base that never saw purple, nor anything move diagonally, learns both from captions."""
    from infra.demo.bases import novice_vocabulary  # brings torch, as `_base`

    purple = Vocabulary(NEW.colours, novice_vocabulary().motions)
    diagonal = Vocabulary(KNOWN.colours, DIAGONALS)

    def new(n: int, split: Split, seed: int) -> list[Scene]:
        return [
            *sample_scenes(n - n // 2, seed, split=split, vocabulary=purple),
            *sample_scenes(n // 2, seed, split=split, vocabulary=diagonal),
        ]

    with school(_base("novice"), "novice") as fleet:
        lesson = fleet.films("lesson", new(plan.lesson, "train", seed), seed)
        known = world(plan.replay, "train", seed, novice_vocabulary())
        replay = fleet.films("replay", known, seed)
        held_out = fleet.films("held-out", new(plan.held_out, "heldout", seed + 100), seed)
        news = fleet.questions("new", fleet.films("new", new(plan.asked, "heldout", seed), seed))
        olds = fleet.questions(
            "old",
            fleet.films("old", world(plan.asked, "heldout", seed, novice_vocabulary()), seed),
        )
        new_before, old_before = fleet.say(news), fleet.say(olds)
        rows = [*fleet.rows(lesson), *fleet.rows(held_out, "eval")]
        outcome = fleet.train(
            "sft",
            fleet.publish([*lesson, *held_out], rows),
            plan.sft,
            seed,
            replay=fleet.publish(replay, fleet.rows(replay)),
            replay_share=plan.replay_share,
        )
        return {
            "new_before": exact(new_before, news.films),
            "new_after": exact(fleet.say(news), news.films),
            "old_before": exact(old_before, olds.films),
            "old_after": exact(fleet.say(olds), olds.films),
            "train_s": outcome.seconds,
        }


def dpo(plan: Plan, seed: int) -> Figures:
    """A base with a habit of the tongue loses it by preferences among its own captions."""
    with school(_base("habit"), "habit") as fleet:
        lesson = fleet.films("lesson", world(plan.lesson // 2, "train", seed), seed)
        held_out = fleet.films("held-out", world(plan.held_out, "heldout", seed + 100), seed)
        asked = sample_scenes(10 * plan.asked, seed, split="heldout")
        there = [scene for scene in asked if scene.background in SURROUNDINGS][: plan.asked]
        elsewhere = [scene for scene in asked if scene.background not in SURROUNDINGS]
        contexts = fleet.questions("contexts", fleet.films("new", there, seed))
        rest = fleet.questions("rest", fleet.films("old", elsewhere[: plan.asked], seed))
        before, rest_before = fleet.say(contexts), fleet.say(rest)
        rows = [*fleet.rows(lesson), *fleet.rows(held_out, "eval")]
        source = fleet.publish([*lesson, *held_out], rows)
        pairs, made = fleet.pairs(source, f"--draws={plan.draws}")
        outcome = fleet.train("dpo", pairs, plan.dpo, seed)
        after, rest_after = fleet.say(contexts), fleet.say(rest)
        films = [*contexts.films, *rest.films]
        told = outcome.metrics
        return {
            "habit_before": habit(before),
            "habit_after": habit(after),
            "exact_before": exact([*map(without_habit, before), *rest_before], films),
            "exact_after": exact([*map(without_habit, after), *rest_after], films),
            "chosen_nats_lost": told["logp_chosen_before"] - told["logp_chosen_after"],
            "pairs": made["pairs"],
            "train_s": outcome.seconds,
        }


def swap(plan: Plan, seed: int) -> Figures:
    """A language model and a vision tower that never met: the projector first, then all of it."""
    asked = world(plan.asked, "heldout", seed)
    with school(MODELS / "qwen3", "qwen3", ("captioner",)) as fleet:
        whole = fleet.questions("whole", fleet.films("old", asked, seed))
        original = exact(fleet.say(whole), whole.films)
    with school(_base("unaligned"), "unaligned") as fleet:
        questions = fleet.questions("whole", fleet.films("old", asked, seed))
        before = exact(fleet.say(questions), questions.films)
        data = _world_set(fleet, plan, seed)
        aligned = fleet.train("align", data, plan.align, seed)
        after_align = exact(fleet.say(questions), questions.films)
        tuned = fleet.train("sft", data, plan.recover, seed, start_from=aligned.version)
        return {
            "original": original,
            "before": before,
            "aligned": after_align,
            "recovered": exact(fleet.say(questions), questions.films),
            "train_s": aligned.seconds + tuned.seconds,
        }


def motion(plan: Plan, seed: int) -> Figures:
    """An early checkpoint that takes one motion for another, and pairs of a clip and the same clip
    backwards. Beside it as many steps of plain fine-tuning on the same films."""
    with school(_base("unaligned"), "unaligned") as fleet:
        asked = [scene for scene in world(3 * plan.asked, "heldout", seed) if moves(scene)]
        questions = fleet.questions("moving", fleet.films("old", asked[: plan.asked], seed))
        early = fleet.train("align", _world_set(fleet, plan, seed), plan.early, seed)
        before = fleet.say(questions)
        scenes = [scene for scene in world(2 * plan.lesson, "train", seed + 50) if moves(scene)]
        lesson = fleet.films("pairs", scenes[: plan.lesson], seed)
        held_out = fleet.films(
            "held-out",
            [one for one in world(99, "heldout", seed + 150) if moves(one)][: plan.held_out],
            seed + 50,
        )
        films = [*lesson, *held_out]
        rows = [*fleet.rows(lesson), *fleet.rows(held_out, "eval")]
        source = fleet.publish(films, rows)
        pairs, _ = fleet.pairs(source, "--draws=0", "--frames-in=reversed")
        preferred = fleet.train("dpo", pairs, plan.motion, seed, start_from=early.version)
        after = fleet.say(questions)
        plain = fleet.train("sft", source, plan.motion, seed, start_from=early.version)
        control = fleet.say(questions)
        return {
            "errors_before": motion_errors(before, questions.films),
            "errors_after": motion_errors(after, questions.films),
            "errors_after_sft_instead": motion_errors(control, questions.films),
            "exact_before": exact(before, questions.films),
            "exact_after": exact(after, questions.films),
            "exact_after_sft_instead": exact(control, questions.films),
            "train_s": early.seconds + preferred.seconds + plain.seconds,
        }


PARTS: dict[str, Callable[[Plan, int], Figures]] = {
    "sft": sft,
    "dpo": dpo,
    "swap": swap,
    "motion": motion,
}


def _base(name: str) -> Path:
    from infra.demo.bases import base

    return base(name)


def _world_set(fleet: School, plan: Plan, seed: int) -> str:
    lesson = fleet.films("lesson", world(plan.world, "train", seed), seed)
    held_out = fleet.films("held-out", world(plan.held_out, "heldout", seed + 100), seed)
    rows = [*fleet.rows(lesson), *fleet.rows(held_out, "eval")]
    return fleet.publish([*lesson, *held_out], rows)


def world(n: int, split: Split, seed: int, vocabulary: Vocabulary = KNOWN) -> list[Scene]:
    """Scenes of every kind, mixed, so that any part of them has some of each."""
    kinds: dict[Kind, list[Scene]] = {
        kind: sample_scenes(
            round(n * share) + 1, seed, split=split, kind=kind, vocabulary=vocabulary
        )
        for kind, share in MIX.items()
    }
    turns = [(place / share, kind) for kind, share in MIX.items() for place in range(n)]
    order = [kind for _, kind in sorted(turns)][:n]
    return [kinds[kind].pop() for kind in order if kinds[kind]]


def exact(said: Sequence[str], films: Sequence[Film]) -> float:
    return fmean(text == film.right for text, film in zip(said, films, strict=True))


def habit(said: Sequence[str]) -> float:
    return fmean(HABIT in text for text in said)


def without_habit(text: str) -> str:
    return text.removesuffix(HABIT).strip()


def moves(scene: Scene) -> bool:
    """So that it is another one backwards."""
    return caption(reverse(scene)) != caption(scene)


def motion_errors(said: Sequence[str], films: Sequence[Film]) -> float:
    """What does not read as a caption tells no motion rightly."""
    return fmean(
        _motions(parse(text)) != _motions(film.scene)
        for text, film in zip(said, films, strict=True)
    )


def _motions(scene: Scene | None) -> tuple[str, ...] | None:
    if scene is None:
        return None
    return tuple(figure.motion for part in scene.parts for figure in part.figures)


def brief(plan: Plan, seed: int) -> Figures:
    """The steps of a lesson for the shipped model: they work, and teach nothing."""
    with school(MODELS / "llama", "llama") as fleet:
        lesson = fleet.films("lesson", sample_scenes(plan.lesson, seed, split="train"), seed)
        held_out = fleet.films(
            "held-out", sample_scenes(plan.held_out, seed, split="heldout"), seed
        )
        asked = sample_scenes(plan.asked, seed, split="heldout", vocabulary=NEW)
        news = fleet.questions("new", fleet.films("new", asked, seed))
        rows = [*fleet.rows(lesson), *fleet.rows(held_out, "eval")]
        before = exact(fleet.say(news), news.films)
        outcome = fleet.train("sft", fleet.publish([*lesson, *held_out], rows), plan.sft, seed)
        after = exact(fleet.say(news), news.films)
        return {
            "new_before": before,
            "new_after": after,
            "old_before": outcome.metrics["exact_before"],
            "old_after": outcome.metrics["exact_after"],
            "train_s": outcome.seconds,
        }
