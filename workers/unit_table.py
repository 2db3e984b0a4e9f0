"""What a caption takes on each class of card: `python -m workers.unit_table > shared/units.json`.

From the planner that docs/cards.md is made with, so that the operator's side can read it without
importing the workers.
"""

import json
from typing import Any

from shared.errors import DoesNotFit
from workers.caption.card_plan import Asked, CardPlan
from workers.caption.sums import seconds_with
from workers.model.geometry import HUB, KNOWN
from workers.plan import plans_of, usual

SOURCE = "docs/cards.md: arithmetic, not measured on a card"


def unit_table() -> dict[str, Any]:
    """Model -> class -> the most frames of a caption, what one with a single frame takes, and each
    further frame, in seconds of a card whose rows are all in use; for captions as long as a new
    job's may be."""
    models = {}
    for name, geometry in KNOWN.items():
        asked = usual(name)
        plans = plans_of(geometry, asked).items()
        models[name] = {card: _row(made, asked) for card, made in plans if _is_known(made)}
    return {"source": SOURCE, "hub": HUB, "models": models}


def _is_known(made: CardPlan | DoesNotFit) -> bool:
    return isinstance(made, CardPlan) and made.seconds.value is not None


def _row(plan: Any, asked: Asked) -> dict[str, float]:
    frames = plan.frames.value
    one, all_of_them = (seconds_with(plan, some, asked) for some in (1, frames))
    more = (all_of_them - one) / (frames - 1)
    return {"frames": frames, "first_s": round(one, 4), "more_s": round(more, 5)}


if __name__ == "__main__":
    print(json.dumps(unit_table(), indent=2))
