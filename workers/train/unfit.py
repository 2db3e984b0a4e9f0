"""Earlier rows that can be learned no more: their videos were replaced, this job has more frames,
captions are shorter now. Of new rows that is an error; these are left out, and it is said.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

from shared.errors import BadData
from shared.messages import Decoding
from shared.rows import Row
from workers.train.collate import Encoder
from workers.train.row_limits import foreign, too_long
from workers.train.sayable import unsayable


def without_unfit(
    rows: Sequence[Row], encoder: Encoder, decoding: Decoding, unreadable: Mapping[str, BadData]
) -> tuple[list[Row], tuple[str, ...]]:
    """Those that fit, and a note if there are others.

    Args:
        unreadable: clips, by key, and why.
    """
    tokenizer = encoder.loaded.tokenizer
    seen = [row for row in rows if row.media.key not in unreadable]
    faults = chain(
        ((row, unreadable[row.media.key]) for row in rows if row.media.key in unreadable),
        unsayable(tokenizer, seen),
        too_long(seen, tokenizer, decoding),
        foreign(seen, decoding),
        encoder.beyond(seen),
    )
    why: dict[str, BadData] = {}
    for row, error in faults:
        why.setdefault(row.id, error)
    fit = [row for row in rows if row.id not in why]
    return fit, tuple(note_unfit(len(why), len(rows), error) for error in [*why.values()][:1])


def note_unfit(unfit: int, rows: int, error: BadData) -> str:
    return f"{unfit} of {rows} earlier rows are not replayed, for they do not fit any more: {error}"
