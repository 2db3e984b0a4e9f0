"""The settings of scaling: how soon a caption is promised, and what is started for it.

Knows how they are written, and nothing of queues and workers.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shared.broker_settings import BrokerSettings
from shared.lists import parse_list

Scaled = Literal["t4", "l4", "a100", "h100", "cpu"]


class ScaleSettings(BrokerSettings):
    """Each field is an environment variable: `JAMAK_` and the field's name in capitals."""

    slo_s: float = Field(
        900.0,
        gt=0,
        allow_inf_nan=False,
        description="So long after its job was put a caption shall be there (`jamak scale`, "
        "docs/scaling.md).",
    )
    scale_classes: Annotated[tuple[Scaled, ...], NoDecode] = Field(
        ("t4", "l4", "a100", "h100"),
        description="The card classes whose workers are scaled: those that have a Deployment. Work "
        "for another class counts for the next larger one of these. With commas between them or "
        "as a JSON list.",
    )
    scale_most: int = Field(
        1000,
        ge=1,
        description="Workers of a class that are wanted at the most; what runs is bounded by the "
        "orchestrator (`maxReplicaCount` of KEDA).",
    )
    machine_start_s: float = Field(
        180.0,
        ge=0,
        allow_inf_nan=False,
        description="From when a worker is wanted until its process starts: a machine, an image. "
        "No process can see it, so it is told here; what the process then takes is measured.",
    )
    pod: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        description="In Kubernetes the name of this worker's pod (`fieldRef: metadata.name`), so "
        "that the scaler can say which pods to end first.",
    )

    @field_validator("scale_classes", mode="before")
    @classmethod
    def _classes_are_read(cls, value: Any) -> Any:
        return parse_list(value) if isinstance(value, str) else value
