"""Greedy captions of held-out clips by the engine that captions the fleet's videos, and what the
model finds likely: of an adapter, and of what it is compared with.

Both sides see the same features of the same frames; so what differs is the adapter.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from shared.messages import AdapterUsed, Decoding
from shared.rows import Row
from workers.caption.captioner import Answer, EngineCaptioner
from workers.caption.features import Features
from workers.judge.items import Item
from workers.model.adapter_files import Adapter, lora_config
from workers.model.loading import LoadedModel
from workers.progress import Progress
from workers.train.collate import Encoder
from workers.train.likelihood import likelihoods

Tell = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    version: str | None
    """None = the base model."""
    adapter: Adapter | None


@dataclass(frozen=True)
class Question:
    """One clip under one prompt: it is captioned once, whatever it has of references."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        return self.rows[0]


def questions_of(rows: Sequence[Row]) -> list[Question]:
    found: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        found.setdefault((row.media.key, row.prompt), []).append(row)
    return [Question(tuple(some)) for some in found.values()]


def captions(
    captioner: EngineCaptioner,
    side: Side,
    questions: Sequence[Question],
    encoder: Encoder,
    decoding: Decoding,
    tell: Tell,
) -> list[Answer]:
    """In the order of the questions."""
    used = side.version and AdapterUsed(version=side.version, generation=0)
    captioner.use_adapter(used or None, side.adapter)
    done = 0

    def ask(question: Question) -> Answer:
        row = question.first
        [seen] = encoder.clips.features([row.media.key])
        features = Features(
            tensor=seen.flatten(0, 1),
            frames=len(seen),
            pool_stride=encoder.loaded.layout.pool_stride,
            sight=captioner.sight(len(seen)),
            seed=0,  # nothing is drawn
        )
        return captioner.caption(features, str(row.prompt), decoding, Progress())

    answers = []
    with ThreadPoolExecutor(captioner.engine.size.rows) as pool:
        for answer in pool.map(ask, questions):
            answers.append(answer)
            done += 1
            tell("captions", done, len(questions))
    return answers


def likely(
    loaded: LoadedModel,
    sides: Sequence[Side],
    questions: Sequence[Question],
    encoder: Encoder,
    tell: Tell,
) -> list[list[float]]:
    """Of each side, of each question: log-probability of its references, in nats a token."""
    rows = [row for question in questions for row in question.rows]
    found = []
    with _sides(loaded, sides) as models:
        for model in models:
            each = likelihoods(model(), encoder, rows, lambda done, n: tell("likelihood", done, n))
            nats = iter(texts[0].per_token for texts in each)
            found.append([fmean(next(nats) for _ in question.rows) for question in questions])
    return found


@contextmanager
def _sides(loaded: LoadedModel, sides: Sequence[Side]) -> Iterator[list[Callable[[], Any]]]:
    """For each side a function that turns the model into it. The base model is what it was, as
    long as the adapters are off: those stay on it, so nothing else may use the model afterwards."""
    from peft import get_peft_model, set_peft_model_state_dict

    model: Any = loaded.model
    for number, side in enumerate(sides):
        if side.adapter is None:
            continue
        config, name = lora_config(side.adapter.rank), f"side{number}"
        if model is loaded.model:
            model = get_peft_model(loaded.model, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
        set_peft_model_state_dict(model, side.adapter.tensors, adapter_name=name)

    def turned(number: int, side: Side) -> Any:
        if side.adapter is not None:
            model.base_model.enable_adapter_layers()
            model.set_adapter(f"side{number}")
        elif model is not loaded.model:
            model.base_model.disable_adapter_layers()
        return model

    def turning(number: int, side: Side) -> Callable[[], Any]:
        return lambda: turned(number, side)

    yield [turning(number, side) for number, side in enumerate(sides)]


def items_of(
    questions: Sequence[Question], answers: Sequence[Answer], logp: Sequence[float]
) -> list[Item]:
    middle = median(len(question.first.reference) for question in questions)
    return [
        Item(
            id=question.first.id,
            video=question.first.media.identity,
            references=tuple(dict.fromkeys(row.reference for row in question.rows)),
            said=answer.text,
            finished=answer.finished,
            logp=nats,
            parts=_parts(question.first, middle),
        )
        for question, answer, nats in zip(questions, answers, logp, strict=True)
    ]


def _parts(row: Row, middle: float) -> dict[str, str]:
    whole = "video" if row.media.whole else "part of a video"
    return {
        "source": row.source or "-",
        "origin": row.origin or "-",
        "medium": "image" if row.images else whole,
        "reference": "shorter half" if len(row.reference) <= middle else "longer half",
    }
