"""Does a training fit its card? Asked before a video or a weight is fetched; and what would fit.

Knows no torch: sizes are those of config.json, and the card's memory is what its driver says.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from shared.cards import CLASSES, GPU_CLASSES, detect_gpu
from shared.errors import ConfigError, DoesNotFit
from shared.messages import Decoding
from shared.rows import Row
from shared.settings import Settings
from shared.training import TrainJob
from workers.caption.hosts import FREE, detect_host
from workers.caption.machines import GIB, Machine, gib, machine_of
from workers.model.checkpoint import find_geometry
from workers.model.geometry import HUB, IN_BYTES, SYLLABLES, Geometry
from workers.model.syllables import longest, syllables_in
from workers.train.memory import Need, Run, needed
from workers.train.mix import taught

SURELY = 4
"""Of the tokens that are counted without a tokenizer one of so many is there at least."""
LIBRARIES = int(0.9 * GIB)
"""Of a process on a CPU, with nothing in it yet."""


@dataclass(frozen=True)
class Option:
    """Something else that fits."""

    how: str
    """As options of `jamak train`, or a class of cards."""
    need: Need
    why: str


def check_fits(
    job: TrainJob,
    settings: Settings,
    machine: Machine,
    rows: Sequence[Row],
    earlier: Sequence[Row] = (),
) -> str | None:
    """Args:
    job: as it is trained: its rank is that of the adapter that it goes on from.
    earlier: rows that are to be replayed, as their own stages have them.

    Returns:
        What whoever asked for the job should know, if nobody can tell whether it fits.

    Raises:
        DoesNotFit: this machine's card or memory is too small; the cure is what would fit.
        ConfigError: the config.json in JAMAK_MODEL_PATH says nothing about sizes.
    """
    if usable(machine, job.processes) is None:
        return note_unplanned("the driver does not say how much memory the card has")
    try:
        geometry = find_geometry(settings.model, settings.model_revision, settings.model_path)
    except ConfigError as error:
        if settings.model_path is not None:
            raise
        return note_unplanned(str(error))  # whoever loads the model fails, or knows more
    again = [row for one in earlier if (row := taught(one, job)) is not None]
    texts = longest_texts(
        rows,
        again,
        settings.model,
        Decoding.asked(settings),
        SURELY * geometry.context,
        skips=job.skip_unfit,
    )
    prompt, answer = (min(tokens, geometry.context) for tokens in texts)
    check(Run.of(job, prompt, answer, on_card=machine.memory is not None), geometry, machine)
    return None


def note_unplanned(why: str) -> str:
    return f"nobody planned whether the training fits: {why}"


def trainer(settings: Settings) -> Machine:
    """What this worker trains on, as the subprocess will find it."""
    gpu = None if settings.device == "cpu" else detect_gpu()
    if gpu is None:
        return Machine(
            None, "float32", quantized=False, host=int(detect_host().memory * (1 - FREE))
        )
    newer = gpu.compute_capability is None or gpu.compute_capability >= 8.0
    memory = None if gpu.memory_gib is None else int(gpu.memory_gib * GIB)
    return Machine(memory, "bfloat16" if newer else "float16", quantized=False)


def on_gpu(machine: Machine) -> bool:
    """Also where its driver does not say how much memory it has."""
    return machine.host is None


def usable(machine: Machine, processes: int = 1) -> int | None:
    """Bytes for each process of a training; None: nobody knows.

    Each has a card of its own (run.py refuses more than there are); on a CPU they share its memory.
    """
    if machine.memory is not None:
        return machine.usable
    return None if machine.host is None else machine.host // processes - LIBRARIES


def longest_texts(
    rows: Sequence[Row],
    earlier: Sequence[Row],
    model: str,
    decoding: Decoding,
    beyond: float = math.inf,
    *,
    skips: bool = False,
) -> tuple[int, int]:
    """Tokens of the longest prompt and of the longest answer; rather too many than too few, for
    the tokenizer is not here yet.

    Args:
        earlier: rows of which those are left out that are longer than captions are now.
        beyond: so many tokens no earlier row has that is not left out.
        skips: so are `rows` with a longer text than captions, or a prompt beyond that.
    """
    each = SYLLABLES.get(HUB.get(model, model), IN_BYTES)
    most = longest(decoding, each)

    def tokens(text: str) -> int:
        syllables = syllables_in(text)
        return math.ceil(each * syllables) + len(text) - syllables + 1

    def asks_too_much(row: Row) -> bool:
        return tokens(str(row.prompt)) > beyond

    if skips:
        rows = [row for row in rows if not asks_too_much(row)]
    texts = (tokens(text) for row in rows for text in row.texts)
    answers = [min(length, most) if skips else length for length in texts]
    spare = [row for row in earlier if not asks_too_much(row)]
    spare = [row for row in spare if all(tokens(text) <= beyond for text in row.texts)]
    for row in spare:
        said = row.label is not False
        answers += [
            min(tokens(text), most) if said and text == row.reference else tokens(text)
            for text in row.texts
        ]
    prompts = (tokens(str(row.prompt).replace("<video>", "")) for row in chain(rows, spare))
    return max(prompts, default=0), max(answers, default=0)


def check(run: Run, geometry: Geometry, machine: Machine) -> Need:
    """Raises DoesNotFit."""
    need, most = _needed(run, geometry, machine), usable(machine, run.processes)
    if most is None or need.total <= most:
        return need
    found = [f"{one.how} ({gib(one.need.total)} GiB)" for one in options(run, geometry, machine)]
    several = f"each of the {run.processes} processes of the training"
    raise DoesNotFit(
        f"{several if run.processes > 1 else 'the training'} takes {gib(need.total)} GiB: "
        f"{gib(need.weights)} for weights, "
        f"{gib(need.trained)} for what is trained, {gib(need.step)} for a step or "
        f"{gib(need.evaluation)} for captions; {gib(most)} GiB can be used here",
        cure=f"This fits: {'; '.join(found)}."
        if found
        else "No class of cards holds it: choose a smaller model.",
    )


def options(run: Run, geometry: Geometry, machine: Machine) -> Iterator[Option]:
    """What fits: first what changes nothing of the result, then what does, then another card.

    Each alone where that is enough, else several of them together.
    """
    alone = list(_fitting(_changes(run), geometry, machine))
    if alone:
        yield from alone
    else:
        yield from _fitting(_together(run), geometry, machine)
    for name in GPU_CLASSES:
        other = machine_of(CLASSES[name])
        most = usable(other)
        need = _needed(run, geometry, other)
        here = usable(machine, run.processes) or 0
        if most is not None and need.total <= most and most > here:
            yield Option(f"class {name}", need, "a card with more memory")
            return


def _changes(run: Run) -> Iterator[tuple[str, Run, str]]:
    """Each alone; of batches and frames the largest number that fits is taken first."""
    for changed in _smaller_batches(run):
        yield _batch(changed), changed, "as many rows a step, in more passes: about as fast"
    for fewer in _fewer_processes(run):
        yield _processes(fewer), fewer, "as many rows a step, in fewer processes: slower"
    if not run.checkpointing:
        changed = replace(run, checkpointing=True)
        yield CHECKPOINTING, changed, "layers are computed twice: about a third slower"
    if not run.quantized and run.stage != "align":
        changed = replace(run, quantized=True)
        yield QUANTIZED, changed, "weights in 4 bits: the adapter is trained on rounded ones"
    for frames in range(run.frames - 1, 0, -1):
        yield f"--frames {frames}", replace(run, frames=frames), "shorter rows: less is seen"


def _together(run: Run) -> Iterator[tuple[str, Run, str]]:
    """More and more of them."""
    how, whole = "", run
    quantized = run.quantized or run.stage != "align"
    for option, changed in (
        (CHECKPOINTING, replace(run, checkpointing=True)),
        (QUANTIZED, replace(run, checkpointing=True, quantized=quantized)),
    ):
        if changed != whole:
            whole, how = changed, f"{how} {option}"
        for smaller in _smaller_batches(whole):
            yield f"{_batch(smaller)}{how}", smaller, SEVERAL
    *_, least = whole, *_smaller_batches(whole)
    for frames in range(run.frames - 1, 0, -1):
        fewer = replace(least, frames=frames)
        yield f"{_batch(least)}{how} --frames {frames}", fewer, SEVERAL


SEVERAL = "none of them is enough alone"
CHECKPOINTING, QUANTIZED = "--gradient-checkpointing", "--quantized"


def _smaller_batches(run: Run) -> Iterator[Run]:
    rows, least = run.batch_size * run.accumulate, 2 if run.stage == "kto" else 1
    for batch_size in range(run.batch_size - 1, least - 1, -1):
        if rows % batch_size == 0:
            yield replace(run, batch_size=batch_size, accumulate=rows // batch_size)


def _fewer_processes(run: Run) -> Iterator[Run]:
    for processes in range(run.processes - 1, 0, -1):
        if run.accumulate * run.processes % processes == 0:
            accumulate = run.accumulate * run.processes // processes
            yield replace(run, processes=processes, accumulate=accumulate)


def _processes(run: Run) -> str:
    return f"--processes {run.processes} --accumulate {run.accumulate}"


def _batch(run: Run) -> str:
    return f"--batch-size {run.batch_size} --accumulate {run.accumulate}"


def _fitting(
    changes: Iterator[tuple[str, Run, str]], geometry: Geometry, machine: Machine
) -> Iterator[Option]:
    """The first that fits of each kind."""
    seen = set()
    for how, run, why in changes:
        need, most = _needed(run, geometry, machine), usable(machine, run.processes) or 0
        if why not in seen and need.total <= most:
            seen.add(why)
            yield Option(how, need, why)


def _needed(run: Run, geometry: Geometry, machine: Machine) -> Need:
    return needed(run, geometry, machine.number_bytes, on_card=machine.memory is not None)
