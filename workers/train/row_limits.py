"""Rows that a worker could never say: what they teach would be cut off, or is not allowed there.

The limits are those of the trainer's settings, for the caption workers' are the same.
"""

from collections.abc import Sequence

from shared.errors import BadData
from shared.messages import Decoding
from shared.rows import Row
from workers.caption.scripts import allowed
from workers.model.prompt import completion_ids
from workers.model.syllables import longest, syllables_in, tokens_a_syllable
from workers.train.collate import Encoder


def check_limits(rows: Sequence[Row], encoder: Encoder, decoding: Decoding) -> None:
    """What is `rejected` in a row of a preference set may be anything: nobody is to say it.

    Raises:
        BadData: naming the first row whose text is longer than a worker's captions, or holds
            letters that it may not write, and how many there are.
    """
    tokenizer = encoder.loaded.tokenizer
    most = longest(decoding, tokens_a_syllable(tokenizer))
    lengths = [(len(completion_ids(tokenizer, row.reference)), row) for row in rows]
    if long := [(length, row) for length, row in lengths if length > most]:
        length, row = long[0]
        raise BadData(
            f"row {row.id!r} has {syllables_in(row.reference)} syllables in {length} tokens, and a "
            f"caption ends after {most}; {len(long)} of {len(rows)} rows are longer than that",
            cure=f"Shorten them, or raise {decoding.set_by} for trainers and new jobs.",
        )
    if decoding.language != "ko":
        return
    for row in rows:
        if foreign := [one for one in row.reference if not allowed(one)]:
            raise BadData(
                f"row {row.id!r} holds {foreign[0]!r}, which no caption may hold under "
                "JAMAK_LANGUAGE=ko",
                cure="Write it in Korean or Latin letters, or set JAMAK_LANGUAGE=any for trainers "
                "and new jobs.",
            )
