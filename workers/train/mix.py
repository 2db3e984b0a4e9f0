"""Earlier rows among the new ones, against forgetting: which, how many, and what they teach here.

Knows nothing of where rows come from.
"""

import hashlib
from collections.abc import Sequence
from itertools import zip_longest
from math import ceil

from shared.rows import Row
from shared.stages import losses_of
from shared.training import TrainJob


def drawn(sets: Sequence[Sequence[Row]], job: TrainJob, new: int) -> list[Row]:
    """As many earlier rows as a training of `new` rows can use, and always the same ones; of each
    set as many, as far as it has them: a large one is not to leave a small one forgotten.

    They are to be the share `replay_share` of all that is computed. A training that sees its new
    rows several times does not need to see the same few earlier ones as often: others are as good.
    """
    share = job.replay_share
    computed = job.steps * job.batch_size * job.accumulate * job.processes
    passes = max(1, ceil(computed * (1 - share) / new))
    wanted = ceil(passes * new * share / (1 - share))

    def place(row: Row) -> bytes:
        return hashlib.sha256(f"{job.seed}:{row.id}".encode()).digest()

    turns = zip_longest(*(sorted(rows, key=place) for rows in sets))
    return [row for turn in turns for row in turn if row is not None][:wanted]


def mixed(new: Sequence[Row], earlier: Sequence[Row], share: float) -> list[Row]:
    """Both, the new ones so often that the share of the earlier ones is as asked, if it can be."""
    if not earlier:
        return list(new)
    times = round(len(earlier) * (1 - share) / (share * len(new)))
    return [*list(new) * max(1, times), *earlier]


def taught(row: Row, job: TrainJob) -> Row | None:
    """An earlier row as one of this job's stage; None = there is nothing in it to hold on to.

    A pair stays a pair for dpo, and a thumb a thumb for kto. A reference caption becomes, for dpo,
    a pair of twice the same text: neither is preferred, so it teaches through the loss `sft` alone.
    For kto it is a caption that was liked. Of pairs and thumbs the other stages learn the better.
    """
    stage = job.stage
    if (stage == "dpo" and row.rejected is not None) or (stage == "kto" and row.label is not None):
        return row
    if row.label is False or (stage == "dpo" and "sft" not in losses_of(job)):
        return None
    text = row.reference
    columns: dict[str, object] = {"completion": text}
    if stage == "dpo":
        columns = {"chosen": text, "rejected": text}
    elif stage == "kto":
        columns = {"completion": text, "label": True}
    nothing = dict.fromkeys(("completion", "chosen", "rejected", "rejected_frames", "label"))
    return row.model_copy(update={**nothing, **columns})
