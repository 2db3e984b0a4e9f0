"""The settings of the fleet as a whole: whose work it does.

Knows how they are written, and nothing of queues, workers and costs.
"""

from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shared.broker_settings import BrokerSettings
from shared.errors import ConfigError
from shared.lists import parse_pairs
from shared.tenants import Tenants


class FleetSettings(BrokerSettings):
    """Each field is an environment variable: `JAMAK_` and the field's name in capitals."""

    tenants: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description="Whose the videos of a prefix are: `s3://bucket/prefix/=name`, or with a "
        "weight `=name:3`; several with commas between them, or a JSON object. The longest prefix "
        "counts; what is in none is the tenant `other`. The same for every process.",
    )

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
