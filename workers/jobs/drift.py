"""What captions look like on average, as metrics: alerts compare the last hour with the day before.

Knows nothing of what was before.
"""

from typing import get_args

from shared import telemetry
from shared.messages import Caption, Flag
from workers.caption.checks import letters_of
from workers.model.syllables import syllables_in


def begin() -> None:
    """All from 0 on: of a counter that begins with 1 Prometheus does not see the first."""
    for flag in get_args(Flag):
        telemetry.CAPTION_FLAGS.labels(flag)
    for script in ("hangul", "other"):
        telemetry.CAPTION_LETTERS.labels(script)


def count(caption: Caption) -> None:
    """One whose record was written."""
    for flag in caption.flags:
        telemetry.CAPTION_FLAGS.labels(flag).inc()
    telemetry.CAPTION_SYLLABLES.inc(syllables_in(caption.text))
    hangul, other = letters_of(caption.text)
    telemetry.CAPTION_LETTERS.labels("hangul").inc(hangul)
    telemetry.CAPTION_LETTERS.labels("other").inc(other)
