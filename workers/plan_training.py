"""`jamak plan --train sft`: what a training of a stage takes on each card class, and what fits."""

from rich.markup import escape

from shared.cards import CLASSES, GPU_CLASSES
from shared.console import Grid, out, print_json
from shared.errors import DoesNotFit, UsageError
from shared.language import spoken
from shared.rows import Stage
from shared.settings import CardName
from shared.training_defaults import STAGES
from workers.caption.machines import Machine, gib, machine_of
from workers.model.geometry import Geometry
from workers.train.fitting import check, options, usable
from workers.train.memory import Need, Run, needed
from workers.train.quantizing import usual_weights

PROMPT_TOKENS = 64


def stage_of(word: str) -> Stage:
    """Raises UsageError: there is no such stage."""
    if word not in STAGES:
        raise UsageError(
            f"{word!r} is no stage of training",
            cure=f"Write {', '.join(STAGES)}.",
            argument="--train",
        )
    return word


def run_of(stage: Stage, answer_tokens: int) -> Run:
    """A job of the stage with its defaults, whose texts are as long as captions may be."""
    told = STAGES[stage]
    return Run(
        stage=stage,
        quantized=usual_weights(stage, on_gpu=True).quantized,
        frames=told.frames,
        prompt_tokens=PROMPT_TOKENS,
        answer_tokens=answer_tokens,
        batch_size=told.batch_size,
        accumulate=1,
        rank=told.rank,
        checkpointing=True,
    )


def show_training(
    name: str,
    geometry: Geometry,
    stage: Stage,
    answer_tokens: int,
    card: CardName | None,
    as_json: bool,
) -> None:
    """Args:
    card: this class alone; None: all that have a GPU.
    """
    run = run_of(stage, answer_tokens)
    cards = [card] if card and card != "cpu" else list(GPU_CLASSES)
    machines = {one: machine_of(CLASSES[one]) for one in cards}
    if as_json:
        classes = [_told(one, run, geometry, machine) for one, machine in machines.items()]
        print_json({"model": name, "job": vars(run), "classes": classes})
        return
    table = Grid("class", "usable", "takes", "weights", "trained", "step", "captions", "fits")
    lines = []
    for one, machine in machines.items():
        need, fits = _need(run, geometry, machine), _fits(run, geometry, machine)
        sizes = (need.total, need.weights, need.trained, need.step, need.evaluation)
        table.add_row(
            one,
            f"{gib(usable(machine) or 0)} GiB",
            *(gib(size) for size in sizes),
            spoken("yes" if fits else "no"),
        )
        if not fits:
            lines += [
                f"{one}: {option.how} ({gib(option.need.total)} GiB): {spoken(option.why)}"
                for option in options(run, geometry, machine)
            ]
    out.print(spoken(f"model: {escape(name)}"), highlight=False)
    out.print(table)
    for line in lines:
        out.print(escape(line), highlight=False)


def _need(run: Run, geometry: Geometry, machine: Machine) -> Need:
    return needed(run, geometry, machine.number_bytes, on_card=True)


def _fits(run: Run, geometry: Geometry, machine: Machine) -> bool:
    try:
        check(run, geometry, machine)
    except DoesNotFit:
        return False
    return True


def _told(name: CardName, run: Run, geometry: Geometry, machine: Machine) -> dict[str, object]:
    need, fits = _need(run, geometry, machine), _fits(run, geometry, machine)
    told = {
        "class": name,
        "usable_bytes": usable(machine),
        "takes_bytes": need.total,
        **{f"{what}_bytes": size for what, size in vars(need).items()},
        "fits": fits,
    }
    if not fits:
        told["would_fit"] = [
            {"how": one.how, "takes_bytes": one.need.total, "why": one.why}
            for one in options(run, geometry, machine)
        ]
    return told
