"""The settings of the fleet as a whole: whose work it does, who hears of it, what it costs.

Knows how they are written, and nothing of queues, workers and costs.
"""

from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from shared.errors import ConfigError
from shared.lists import parse_numbers, parse_pairs
from shared.scale_settings import ScaleSettings
from shared.sinks import Sink, key_of
from shared.tenants import Tenants


class FleetSettings(ScaleSettings):
    """Each field is an environment variable: `JAMAK_` and the field's name in capitals."""

    tenants: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description="Whose the videos of a prefix are: `s3://bucket/prefix/=name`, or with a "
        "weight `=name:3`; several with commas between them, or a JSON object. The longest prefix "
        "counts; what is in none is the tenant `other`. The same for every process.",
    )

    usd_per_hour: Annotated[
        dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], NoDecode
    ] = Field(
        {},
        description="What one GPU of a class costs, instead of the dated list prices "
        "(docs/costs.md): `l4=0.35,h100=4.2`, or a JSON object. Each worker tells its own: give "
        "those of a spot pool what the spot market asks.",
    )

    canary_margin: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.03,
        description="A canary is promoted once it is proven that its share of bad captions is "
        "larger by less than this (docs/loop.md). The smaller it is, the longer a trial takes.",
    )

    results: str = Field(
        "",
        description="Who is told when a job has ended (docs/events.md): `arn:aws:sns:…:topic`, "
        "`arn:aws:events:…:event-bus/name` or `https://host/path`. The same for every process.",
    )
    results_secret: SecretStr | None = Field(
        None,
        description="What is told to a webhook is signed with this: `whsec_` and 24 to 64 bytes "
        "in base64. The feeder alone needs it.",
    )

    @field_validator("results")
    @classmethod
    def _results_go_somewhere(cls, value: str) -> str:
        if value:
            Sink.parse(value)
        return value

    @field_validator("results_secret")
    @classmethod
    def _results_can_be_signed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            key_of(value.get_secret_value())
        return value

    @field_validator("usd_per_hour", mode="before")
    @classmethod
    def _prices_are_numbers(cls, value: Any) -> Any:
        return parse_numbers(value, "l4=0.35") if isinstance(value, str) else value

    @field_validator("tenants", mode="before")
    @classmethod
    def _tenants_are_pairs(cls, value: Any) -> Any:
        return parse_pairs(value, "s3://bucket/prefix/=name") if isinstance(value, str) else value

    @field_validator("tenants")
    @classmethod
    def _tenants_are_named(cls, value: dict[str, str]) -> dict[str, str]:
        try:
            Tenants(value)
        except ConfigError as error:
            raise ValueError(f"{error}. {error.cure}") from error
        return value
