"""Rows that cannot be learned: their text is longer than a caption may be, or this model cannot say
it; their video cannot be read. Of a job's own rows that is an error, unless it says `skip_unfit`.
Earlier rows may fit no more, so of them it never is. What is left out is told.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from shared.errors import BadData
from shared.messages import Decoding
from shared.rows import Row
from workers.train.collate import Encoder
from workers.train.row_limits import foreign, too_long
from workers.train.sayable import unsayable

Note = Callable[[int, int, BadData], str]


def without_unfit(
    rows: Sequence[Row],
    encoder: Encoder,
    decoding: Decoding,
    unreadable: Mapping[str, BadData],
    note: Note,
    *,
    unsaid: bool = False,
) -> tuple[list[Row], tuple[str, ...]]:
    """Those that fit, and a note if there are others.

    Args:
        unreadable: clips, by key, and why.
        note: says of how many of how many rows it is, and what the first lacks.
        unsaid: also texts that nobody is to say have to be no longer than captions.
    """
    tokenizer = encoder.loaded.tokenizer
    seen = [row for row in rows if row.media.key not in unreadable]
    faults = chain(
        ((row, unreadable[row.media.key]) for row in rows if row.media.key in unreadable),
        unsayable(tokenizer, seen),
        too_long(seen, tokenizer, decoding, unsaid=unsaid),
        foreign(seen, decoding),
        encoder.beyond(seen),
    )
    why: dict[str, BadData] = {}
    for row, error in faults:
        why.setdefault(row.id, error)
    fit = [row for row in rows if row.id not in why]
    return fit, tuple(note(len(why), len(rows), error) for error in [*why.values()][:1])


def note_unfit(unfit: int, rows: int, error: BadData) -> str:
    return f"{unfit} of {rows} earlier rows are not replayed, for they do not fit any more: {error}"
