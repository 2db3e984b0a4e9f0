"""Which captions are meant, as it is typed: `adapter!=active and flag=repetitive`. Pure.

    adapter = !=      a version, `active`, or `none`: the base model
    flag = !=         one of the flags of a record
    status = !=       ok, partial
    card = !=         a card class
    model = !=        ID, or ID@REVISION
    recipe = !=       the id of a recipe
    made < >=         a date, with a time or without, of UTC unless it says so

All conditions must hold. A value has no spaces.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

from shared.errors import UsageError
from shared.messages import Caption, Flag
from shared.settings import CardName

ACTIVE, NO_ADAPTER = "active", "none"
AND = " and "
_CONDITION = re.compile(r"\s*([^\s=!<>]+)\s*(!=|>=|<=|=|<|>)\s*(\S+)\s*")
_VERSION = re.compile(r"[0-9a-f]{1,12}")

Active = Callable[[str], Collection[str]]
"""Digest of a base's weights -> the versions in use; `NO_ADAPTER` where it is used without."""


@dataclass(frozen=True)
class Condition:
    field: str
    sign: str
    value: str

    @property
    def text(self) -> str:
        return f"{self.field}{self.sign}{self.value}"

    def holds(self, caption: Caption, active: Active) -> bool:
        if self.field == "made":
            return (caption.created_at < _moment(self.value)) is (self.sign == "<")
        meant: Collection[str] = (self.value,)
        if self.field == "adapter":
            if self.value == ACTIVE:
                meant = active(caption.model.weights_sha256)
            made_by = adapters_of(caption)
            # Of a long video each part has its own: one that is meant is enough, either way.
            return any((one in meant) is (self.sign == "=") for one in made_by)
        return bool(_values(caption, self.field) & set(meant)) is (self.sign == "=")


Where = tuple[Condition, ...]


def fits(where: Where, caption: Caption, active: Active) -> bool:
    return all(one.holds(caption, active) for one in where)


def shown(where: Where) -> str:
    """As it is typed; `parse` understands it."""
    return AND.join(one.text for one in where)


def parse(text: str) -> Where:
    """Raises UsageError: it names the condition, and what there is instead."""
    return tuple(_parsed(one) for one in text.split(AND))


def adapters_of(caption: Caption) -> set[str]:
    """The versions that said something of it."""
    parts = [one.adapter for one in caption.segments if one.text] or [caption.adapter]
    return {one.version if one else NO_ADAPTER for one in parts}


def _values(caption: Caption, field: str) -> set[str]:
    model = caption.model
    values: dict[str, set[str]] = {
        "flag": {*caption.flags},
        "status": {caption.status},
        "card": {caption.card.name},
        "model": {model.id, f"{model.id}@{model.revision}"},
        "recipe": {caption.recipe_id},
    }
    return values[field]


def _parsed(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--where: {text!r} is no condition",
            cure="Write a field, a sign and a value without spaces: adapter!=active.",
        )
    field, sign, value = found.groups()
    if field not in _FIELDS:
        raise UsageError(
            f"--where: captions have no field {field!r}", cure=f"Write one of {_listed(_FIELDS)}."
        )
    signs, is_value = _FIELDS[field]
    if sign not in signs:
        raise UsageError(
            f"--where: {field} cannot be compared by {sign!r}", cure=f"Write {_listed(signs)}."
        )
    if not is_value(value):
        raise UsageError(f"--where: {value!r} is no {field}", cure=_CURES[field])
    return Condition(field, sign, value)


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _is_time(value: str) -> bool:
    try:
        _moment(value)
    except ValueError:
        return False
    return True


def _is_adapter(value: str) -> bool:
    return value in (ACTIVE, NO_ADAPTER) or _VERSION.fullmatch(value) is not None


def _listed(words: Collection[str]) -> str:
    return ", ".join(words)


_EQUAL, _ORDER = ("=", "!="), ("<", ">=")
_FLAGS, _CARDS = get_args(Flag), get_args(CardName)
_STATUS = get_args(Caption.model_fields["status"].annotation)
_FIELDS: dict[str, tuple[tuple[str, ...], Callable[[str], bool]]] = {
    "adapter": (_EQUAL, _is_adapter),
    "flag": (_EQUAL, _FLAGS.__contains__),
    "status": (_EQUAL, _STATUS.__contains__),
    "card": (_EQUAL, _CARDS.__contains__),
    "model": (_EQUAL, lambda value: True),
    "recipe": (_EQUAL, lambda value: re.fullmatch(r"[0-9a-f]{12}", value) is not None),
    "made": (_ORDER, _is_time),
}
"""Its signs, and whether something can be a value of it."""
_CURES = {
    "adapter": "Write a version, or active, or none: the base model.",
    "flag": f"Write one of {_listed(_FLAGS)}.",
    "status": f"Write one of {_listed(_STATUS)}.",
    "card": f"Write one of {_listed(_CARDS)}.",
    "recipe": "Write the 12 characters that `jamak show` tells of a caption.",
    "made": "Write 2026-11-23, 2026-11-23T10:00, or with a zone 2026-11-23T10:00+09:00.",
}
