"""How long a caption of new jobs may be: in syllables, or in tokens, but not in both."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from shared.fleet_settings import FleetSettings


class LengthSettings(FleetSettings):
    max_syllables: int = Field(
        250,
        ge=1,
        description="The longest caption of new jobs, in Korean syllables; a worker converts it by "
        "its tokenizer (docs/engine.md).",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="The longest caption in tokens instead, as jobs asked for before; not beside "
        "JAMAK_MAX_SYLLABLES.",
    )

    @model_validator(mode="after")
    def _a_length_is_asked_for_once(self) -> Self:
        if self.max_new_tokens is not None and "max_syllables" in self.model_fields_set:
            raise PydanticCustomError("twice", TWICE, {"field": "max_new_tokens"})
        return self


TWICE = (
    "JAMAK_MAX_SYLLABLES is set, too, and only one of them can count; remove JAMAK_MAX_NEW_TOKENS, "
    "or remove JAMAK_MAX_SYLLABLES to count tokens"
)
