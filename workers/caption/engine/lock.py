"""The language lock at work on the rows' logits. Without waiting for the device: it alone knows
what the rows have said last."""

import math
from collections.abc import Collection, Sequence

import torch

from workers.caption.engine.transfer import up
from workers.caption.language_lock import LanguageLock


class Lock:
    def __init__(
        self, lock: LanguageLock, ends: Collection[int], dtype: torch.dtype, device: torch.device
    ) -> None:
        def lifted(out: torch.Tensor) -> torch.Tensor:
            return up(torch.zeros(out.shape, dtype=dtype).masked_fill(out, -math.inf), device)

        self._out, self._inside_out = lifted(lock.out), lifted(lock.inside_out)
        self._shut = lifted(torch.tensor([False, True]))
        self._inside = len(lock.inside)
        self._kept = up(torch.cat([lock.inside, lock.silent]), device)
        """What is left inside a character."""
        silent = torch.isin(lock.silent, torch.tensor([*ends], dtype=torch.long))
        self._silent_out = lifted(torch.stack([torch.zeros_like(silent), silent]))
        goes_on = ~lock.inside_out.all(1)
        goes_on[0] = False
        self._held = up(goes_on.long(), device)
        """Inside a character no end is left, if anything else is."""
        self._column, self._after = up(lock.column, device), up(lock.after, device)

    def hold(self, logits: torch.Tensor, states: torch.Tensor, locked: Sequence[bool]) -> None:
        """(rows, vocabulary), in place: of rows that are locked, what they may not say is out."""
        if all(locked):
            kept = logits[:, self._kept]
            kept[:, : self._inside] += self._inside_out[states]
            kept[:, self._inside :] += self._silent_out[self._held[states]]
            logits += self._out
            logits += self._shut[(states > 0).long()][:, None]
            logits[:, self._kept] = kept
            return
        rows = [number for number, one in enumerate(locked) if one]
        at = up(torch.tensor(rows), logits.device)
        some = logits[at]
        self.hold(some, states[at], [True] * len(rows))
        logits[at] = some

    def follow(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(rows,) the states after these tokens."""
        return self._after[states, self._column[tokens]]
