import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from shared.messages import (
    Caption,
    CardUsed,
    Failure,
    FramesUsed,
    ModelIdentity,
    Recipe,
    TokensUsed,
    Video,
    record_schema,
)

PAGE = Path(__file__).parents[2] / "docs" / "record.schema.json"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECIPE = Recipe(prompt="p", model="m", revision="r")
COMMON = {
    "video": Video(bucket="b", key="k", etag="e", size_bytes=1),
    "recipe": RECIPE,
    "recipe_id": RECIPE.id,
    "card": CardUsed(name="cpu", device="cpu", dtype="float32", quantized=False),
    "created_at": NOW,
    "jamak": "0",
}
CAPTION = Caption(
    status="partial",
    flags=("truncated",),
    text="글",
    last_modified=NOW,
    duration_s=1.0,
    frames=FramesUsed(requested=4, decoded=2, timestamps_s=(0.1, 0.2)),
    tokens=TokensUsed(visual=1, prompt=1, generated=1),
    model=ModelIdentity(id="m", revision="r", weights_sha256="0"),
    adapter=None,
    timings_s={"frames": 0.1},
    **COMMON,
)
FAILURE = Failure(reason="missing", message="m", cure="c", evidence={"a": 1}, attempts=1, **COMMON)


def test_the_published_schema_is_what_the_classes_say() -> None:
    assert json.loads(PAGE.read_text()) == record_schema(), (
        "run: python -m shared.messages > docs/record.schema.json"
    )


@pytest.mark.parametrize("record", [CAPTION, FAILURE])
def test_records_follow_the_published_schema(record: Caption | Failure) -> None:
    validator = Draft202012Validator(json.loads(PAGE.read_text()))
    written = json.loads(record.model_dump_json())
    validator.validate(written)
    with pytest.raises(ValidationError):
        validator.validate(written | {"status": "splendid"})
