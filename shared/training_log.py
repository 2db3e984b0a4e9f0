"""The log of a training job, as it lies in the bucket: its first lines and its last ones.

    2026-11-30 00:12:50  try 1, worker t-1
    2026-11-30 00:12:53  train 1 of 100: loss 2.3041
    [... 1234 lines are left out ...]
    2026-11-30 01:40:11  train 100 of 100: loss 0.4112

What is between them is left out, so that it never grows beyond a bound; whoever follows it still
knows which line is the how-manieth. Knows nothing of the bucket, nor of what is secret.
"""

import re
from collections import deque

from shared.shown import for_people

HEAD_BYTES, TAIL_BYTES = 64 << 10, 192 << 10
MOST_CHARS = 2_000
"""Of a line."""
_LEFT_OUT = re.compile(r"\[\.\.\. (\d+) lines are left out \.\.\.\]")


class BoundedLog:
    """Args:
    text: what an earlier one came to, to go on from.
    """

    def __init__(self, text: str = "") -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_bytes = self._tail_bytes = 0
        self._head_full = False
        self._left_out = 0
        for line in text.splitlines():
            if left_out := _LEFT_OUT.fullmatch(line):
                self._head_full, self._left_out = True, int(left_out[1])
            else:
                self._add(line)

    def add(self, line: str) -> None:
        """One line: shown, not obeyed, by whoever reads it; without passwords in addresses."""
        self._add(for_people(line[:MOST_CHARS]).replace("\n", " "))

    def _add(self, line: str) -> None:
        size = len(line.encode()) + 1
        if not self._head_full and self._head_bytes + size <= HEAD_BYTES:
            self._head.append(line)
            self._head_bytes += size
            return
        self._head_full = True
        self._tail.append(line)
        self._tail_bytes += size
        while self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft().encode()) + 1
            self._left_out += 1

    def __str__(self) -> str:
        mark = [f"[... {self._left_out} lines are left out ...]"] if self._left_out else []
        return "".join(f"{line}\n" for line in (*self._head, *mark, *self._tail))


def numbered(text: str) -> list[tuple[int, str]]:
    """Its lines, with the number of each in the whole log, from 0. The line that says how many are
    left out has the number of the last of these."""
    found: list[tuple[int, str]] = []
    number = -1
    for line in text.splitlines():
        left_out = _LEFT_OUT.fullmatch(line)
        number += int(left_out[1]) if left_out else 1
        found.append((number, line))
    return found
