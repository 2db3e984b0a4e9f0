"""What must hold between two steps, whatever went wrong before: nothing of a row stays behind.

Pure: the engine hands in what it has.
"""

from collections import Counter
from collections.abc import Sequence

from workers.caption.engine.requests import Prompt, Row


def faults(
    rows: Sequence[Row],
    prompts: Sequence[Prompt],
    *,
    users: Sequence[int],
    lengths: Sequence[int],
    places: int,
    most: int,
) -> list[str]:
    """Args:
    users: of each adapter slot, as they are counted.
    lengths: of each place of a row, as the device has them.
    places: for which there is memory.
    most: rows at once.
    """
    found = []
    held = Counter([row.slot for row in rows] + [prompt.slot for prompt in prompts])
    for slot, count in enumerate(users):
        if count != held[slot]:
            found.append(f"{count} users of adapters in slot {slot}, and {held[slot]} rows")
    if places < max(most, len(rows)):
        found.append(f"memory for {places} rows, and {max(most, len(rows))} of them")
    for place, length in enumerate(lengths):
        wanted = rows[place].length if place < len(rows) else 0
        if length != wanted:
            found.append(f"{length} positions of row {place}, and {wanted} are its own")
    return found
