"""What workers would have seen of a canary's trial."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from producer.canary.state import TrialState
from producer.canary.weighing import Weighing
from shared.messages import Arm
from shared.trials import Observation

AT = datetime(2026, 1, 1, tzinfo=UTC)
MARGIN = 0.03


def seen(number: int, arm: Arm, *, bad: bool = False, pair: bool = True, long: int = 40) -> Any:
    return Observation(
        at=AT + timedelta(seconds=number),
        arm=arm,
        pair=str(number) if pair else None,
        record=f"{number:016x}",
        bad=("repetitive",) if bad else (),
        syllables=long,
        published=not pair or arm == "incumbent",
    )


def pairs(
    count: int, *, canary_bad: int = 0, incumbent_bad: int = 0, start: int = 0, long: int = 40
) -> list[Observation]:
    """Videos by both; of each ten so many are bad."""
    return [
        one
        for number in range(start, start + count)
        for one in (
            seen(number, "canary", bad=number % 10 < canary_bad, long=long),
            seen(number, "incumbent", bad=number % 10 < incumbent_bad),
        )
    ]


def fresh(margin: float = MARGIN, **fields: Any) -> Weighing:
    told: dict[str, Any] = {
        "generation": 1,
        "version": "c" * 12,
        "since": AT,
        "updated_at": AT,
        "jamak": "",
    }
    return Weighing(TrialState(**{**told, **fields}), margin)


def weighed(observations: Iterable[Observation]) -> Weighing:
    weighing = fresh()
    weighing.see(observations)
    return weighing
