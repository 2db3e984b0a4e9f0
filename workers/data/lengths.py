"""How long prompts and texts are for a model, and what of them fits: the model's context in
training, and the captions of each card class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.cards import CLASSES
from shared.errors import BadData, ConfigError, DoesNotFit
from shared.messages import Decoding
from shared.rows import Row
from shared.settings import CardName
from workers.caption.budget import plan_card
from workers.caption.card_plan import Asked, CardPlan
from workers.caption.machines import machine_of
from workers.data.findings import Finding, Told
from workers.model.geometry import Geometry
from workers.model.prompt import completion_ids, prompt_ids
from workers.model.syllables import longest, syllables_in, tokens_a_syllable
from workers.train.row_limits import Fault, beyond_context


@dataclass(frozen=True)
class Words:
    """The part of a model that has to do with text, and its sizes."""

    tokenizer: Any
    geometry: Geometry

    def most(self, decoding: Decoding) -> int:
        """Tokens of the longest caption."""
        return longest(decoding, tokens_a_syllable(self.tokenizer))


@dataclass(frozen=True)
class Length:
    """Of a row."""

    prompt: int
    """Tokens, without those of the frames."""
    text: int
    """Tokens of its longest text, with the one that ends it."""
    reference: int
    """Of that which a caption would be: of a pair the chosen one."""
    rejected: int
    """Of the other one of a pair; 0 = there is none."""
    syllables: int


@dataclass(frozen=True)
class ClassFit:
    """A card class, and the rows that its captions could never be."""

    card: CardName
    plan: CardPlan | DoesNotFit
    needs: int = 0
    """Positions of the longest row, with as many frames as the class has."""
    beyond: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        if isinstance(self.plan, DoesNotFit):
            return {"class": self.card, "refused": str(self.plan)}
        return {
            "class": self.card,
            "frames": self.plan.frames.value,
            "visual_tokens": self.plan.visual_tokens.value,
            "positions": self.plan.positions.value,
            "needs": self.needs,
            "rows_beyond": len(self.beyond),
        }


def lengths_of(rows: Sequence[Row], words: Words) -> tuple[dict[str, Length], list[Fault]]:
    """By the row's id; and the rows whose prompt this model reads otherwise."""
    found: dict[str, Length] = {}
    wrong: list[Fault] = []
    prompts: dict[str, int] = {}
    for row in rows:
        prompt = str(row.prompt)
        try:
            if prompt not in prompts:
                prompts[prompt] = len(prompt_ids(words.tokenizer, prompt)) - 1
        except ConfigError as error:
            wrong.append((row, BadData(f"row {row.id!r}: {error}", cure=error.cure)))
            continue
        texts = {text: len(completion_ids(words.tokenizer, text)) for text in row.texts}
        found[row.id] = Length(
            prompts[prompt],
            max(texts.values()),
            texts[row.reference],
            texts[row.rejected] if row.rejected else 0,
            syllables_in(row.reference),
        )
    return found, wrong


def beyond_training(
    rows: Sequence[Row],
    lengths: Mapping[str, Length],
    frames: Mapping[str, int],
    asked: int,
    words: Words,
) -> Iterator[Fault]:
    """Rows that do not fit the model's context in training.

    Args:
        frames: of each medium, by key; of one that is not there as many as are `asked` for.
    """
    each = words.geometry.tokens_per_frame(words.geometry.pool_stride)
    for row in rows:
        if row.id in lengths:
            visual = frames.get(row.media.key, asked) * each
            prompt, text = lengths[row.id].prompt + visual, lengths[row.id].text
            if error := beyond_context(row, prompt, text, words.geometry.context):
                yield row, error


def classes_for(lengths: Mapping[str, Length], words: Words, decoding: Decoding) -> list[ClassFit]:
    """What captions of each class hold of these rows. A text that no caption would reach the end of
    is counted as far as one would: that it is cut is told of it elsewhere."""
    most = words.most(decoding)
    asked = Asked(new_tokens=most)
    found = []
    for card in CLASSES.values():
        try:
            plan = plan_card(card, machine_of(card), words.geometry, asked)
        except DoesNotFit as error:
            found.append(ClassFit(card.name, error))
            continue
        visual = plan.visual_tokens.value
        needs = {
            name: visual + one.prompt + min(one.reference, most) for name, one in lengths.items()
        }
        beyond = tuple(name for name, need in needs.items() if need > plan.positions.value)
        found.append(ClassFit(card.name, plan, max(needs.values()), beyond))
    return found


def check_classes(classes: Sequence[ClassFit]) -> Iterator[Finding]:
    for one in classes:
        if one.beyond:
            assert isinstance(one.plan, CardPlan)
            yield Finding(
                "card",
                "warning",
                f"rows that are longer than a caption of class {one.card}, which has "
                f"{one.plan.positions.value} positions with its {one.plan.frames.value} frames: "
                f"{len(one.beyond)}",
                cure="Shorten their prompts or texts, or caption on another class.",
                told=tuple(map(Told, one.beyond)),
            )
