"""Records without a worker."""

from datetime import UTC, datetime

from shared.messages import (
    Caption,
    CardUsed,
    FramesUsed,
    ModelIdentity,
    Recipe,
    TokensUsed,
    Video,
)


def caption(text: str, duration_s: float = 2.5) -> Caption:
    return Caption(
        status="ok",
        flags=(),
        text=text,
        video=Video(bucket="b", key="k", etag="e", size_bytes=1),
        last_modified=datetime(2026, 1, 1, tzinfo=UTC),
        duration_s=duration_s,
        frames=FramesUsed(requested=4, decoded=4, timestamps_s=(0.0,)),
        tokens=TokensUsed(visual=1, prompt=1, generated=1),
        recipe_id="x",
        recipe=Recipe(prompt="p", model="m", revision="r"),
        model=ModelIdentity(id="m", revision="r", weights_sha256="0"),
        adapter=None,
        card=CardUsed(name="cpu", device="cpu", dtype="float32", quantized=False),
        timings_s={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        jamak="0",
    )
