"""What lies on the device, and one step of it: the passes, the rows' state, the choice of tokens.

Nothing here waits for the device but `Step.read`: a step is begun, and read when the next one has
been begun.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from workers.caption.engine.adapters import AdapterSlots
from workers.caption.engine.batch import Batch, Part
from workers.caption.engine.buckets import Mode, passes_of
from workers.caption.engine.decoder import Decoder
from workers.caption.engine.kv import KV
from workers.caption.engine.lock import Lock
from workers.caption.engine.requests import Prompt, Row
from workers.caption.engine.sampling import Draws, choose, finite, penalise
from workers.caption.engine.transfer import Down, up
from workers.caption.engine.vision import VisionTower
from workers.caption.language_lock import LanguageLock
from workers.model.loading import LoadedModel


@dataclass(frozen=True)
class Step:
    """Begun, and not read yet."""

    rows: list[Row]
    _said: Down
    """(rows, 3) float64: token, whether its logits were finite, log-probability."""

    def read(self) -> list[tuple[int, bool, float]]:
        """The one place where the host waits for the device."""
        return [(int(token), bool(fine), chance) for token, fine, chance in self._said.tolist()]


class Runner:
    """Args:
    rows: candidates at once.
    positions: of a row: visual, prompt and new tokens.
    mode: how passes are made (buckets.py).
    """

    def __init__(
        self,
        loaded: LoadedModel,
        adapters: AdapterSlots,
        lock: LanguageLock | None,
        rows: int,
        positions: int,
        mode: Mode,
    ) -> None:
        self._device, self._dtype = loaded.device, loaded.dtype
        self._visual_id = loaded.layout.video_token_id
        self._adapters = adapters
        # A row that is over may be begun once more before that is known.
        decoder = Decoder(loaded.model, adapters, positions + 1)
        self._vision = VisionTower(loaded.model.model)
        self.patches = self._vision.patches
        self.kv = KV(
            layers=decoder.layers,
            rows=rows,
            heads=decoder.heads,
            positions=positions,
            size=decoder.size,
            dtype=self._dtype,
            device=self._device,
        )
        self._passes = partial(passes_of, decoder, adapters, self.kv, mode)
        self._plain, self._decoder = decoder, self._passes()
        self._tokens, self._lengths, self._states, self._slots = (
            torch.zeros(rows, dtype=torch.long, device=self._device) for _ in range(4)
        )
        vocabulary = decoder.vocabulary
        self._seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=self._device)
        self._lock = None if lock is None else Lock(lock, loaded.ends, self._dtype, self._device)

    def see(self, frames: torch.Tensor, pool_stride: int | None = None) -> torch.Tensor:
        """(frames, 3, side, side) -> features (visual tokens, vision hidden)."""
        return self._vision(up(frames, self._device).to(self._dtype), pool_stride)

    def inputs(self, ids: Sequence[int], features: torch.Tensor | None, slot: int) -> torch.Tensor:
        """Embedded tokens (tokens, hidden), the visual ones replaced by projected features.

        Raises ValueError: there are not as many of them.
        """
        numbers = torch.tensor(ids)
        where = (numbers == self._visual_id).nonzero()[:, 0]
        count = 0 if features is None else len(features)
        if len(where) != count:
            raise ValueError(f"{len(where)} visual tokens, and {count} features")
        inputs = self._decoder.embed(up(numbers, self._device))
        if features is None:
            return inputs
        where = up(where, self._device)
        projected = self._adapters.project(up(features, self._device), slot)
        return inputs.index_copy(0, where, projected.to(inputs.dtype))

    def begin(self, rows: list[Row], parts: Sequence[Part], ended: Sequence[Prompt]) -> Step:
        """One token of each row, and of each candidate of the prompts that end with these parts.

        The candidates become rows, behind the others.
        """
        count = len(rows)
        batch = Batch(
            rows=count,
            tokens=self._tokens[:count],
            lengths=self._lengths[:count],
            longest=max((row.length for row in rows), default=0),
            slots=self._slots[:count] if any(row.slot for row in rows) else None,
            parts=parts,
        )
        for place, row in enumerate(rows):
            row.length += 1
            self.kv.writes(place, row.length)
        for part in parts:
            self.kv.writes(part.row, part.end)
        logits = self._decoder(batch, self.kv)
        self._lengths[:count] += 1
        sources = [*range(count)]
        rows = [*rows]
        for number, prompt in enumerate(ended):
            for candidate in range(prompt.candidates):
                sources.append(count + number)
                rows.append(self._row(prompt, candidate, len(rows)))
        if len(sources) != len(logits):
            logits = logits[self._on(sources)]
        return self._choose(logits, rows)

    def _on(self, values: Sequence[int]) -> torch.Tensor:
        return up(torch.tensor(values), self._device)

    def _row(self, prompt: Prompt, candidate: int, index: int) -> Row:
        request = prompt.ticket.request
        if candidate:
            self.kv.copy(prompt.place, index, prompt.done)
        self._lengths[index], self._slots[index] = prompt.done, prompt.slot
        self._states[index] = 0
        row = Row(
            prompt.ticket,
            candidate,
            prompt.slot,
            prompt.adapter,
            prompt.done,
            Draws(request.samplings[candidate].seed),
        )
        if row.sampling.repetition_penalty != 1:
            self._seen[index] = False
            self._seen[index, self._on(request.ids)] = True
        return row

    def _choose(self, logits: torch.Tensor, rows: list[Row]) -> Step:
        settings = [row.sampling for row in rows]
        count = len(rows)
        fine = finite(logits)
        chances = None
        if any(row.ticket.request.logprobs for row in rows):
            chances = logits.float().log_softmax(-1)
        penalised = any(one.repetition_penalty != 1 for one in settings)
        if penalised:
            logits = penalise(logits, self._seen[:count], settings)
        locked = [one.locked for one in settings]
        lock = self._lock if any(locked) else None
        if lock is not None:
            lock.hold(logits, self._states[:count], locked)
        draws = [row.draws.next() if row.sampling.temperature else 0.0 for row in rows]
        tokens = choose(logits, settings, draws)
        if penalised:
            self._seen[:count].scatter_(1, tokens[:, None], True)
        if lock is not None:
            self._states[:count] = lock.follow(self._states[:count], tokens)
        self._tokens[:count] = tokens
        said = torch.zeros(count, 3, dtype=torch.float64, device=self._device)
        said[:, 0], said[:, 1] = tokens, fine
        if chances is not None:
            said[:, 2] = chances.gather(-1, tokens[:, None])[:, 0]
        return Step(rows, Down(said))

    def move(self, source: int, target: int, length: int) -> None:
        """A row to another place."""
        self.kv.copy(source, target, length)
        state: Any
        for state in (self._tokens, self._lengths, self._states, self._slots, self._seen):
            state[target] = state[source]

    def free(self, first: int, end: int) -> None:
        """These places are nobody's."""
        self._lengths[first:end] = 0

    def lengths(self) -> list[int]:
        """Of all places. Waits for the device."""
        return [int(length) for [length] in Down(self._lengths[:, None]).tolist()]

    def shrink(self, rows: int) -> None:
        """Memory for so many rows, instead of more. Nobody may be at work."""
        # Passes in buckets are sized and caught for what there was, so they go before any of it
        # does; and there is no memory for others before all of it has gone.
        self._decoder = self._plain
        self.kv.shrink(rows)
        self._decoder = self._passes()
