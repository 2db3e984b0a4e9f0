"""Who was let in, until its prompt is in the cache: its frames are seen, and its tokens worked off
in chunks, beside rows that decode.

Where frames and tokens are parted depends on the request alone, so that no caption depends on its
neighbours.
"""

from collections import deque

import torch

from shared.messages import AdapterUsed
from workers.caption.engine.adapters import AdapterSlots
from workers.caption.engine.batch import Part
from workers.caption.engine.requests import Prompt, Ticket
from workers.caption.engine.runner import Runner
from workers.model.memory import lacks_memory


class TooManyFrames(MemoryError):
    """There was no memory to see so many at once.

    Attributes:
        prompt: whose they are.
    """

    def __init__(self, message: str, prompt: Prompt, frames: int) -> None:
        super().__init__(message)
        self.prompt, self.frames = prompt, frames


class Entry:
    """Only the engine's thread calls it.

    Attributes:
        prompts: in the order in which they came.
    """

    def __init__(self, runner: Runner, adapters: AdapterSlots) -> None:
        self._runner, self._adapters = runner, adapters
        self.prompts: deque[Prompt] = deque()

    def let_in(self, ticket: Ticket, used: AdapterUsed | None) -> None:
        slot = self._adapters.find(used.version if used else None)
        assert slot is not None, "the adapter in use is in no slot"
        self._adapters.hold(slot)
        self.prompts.append(Prompt(ticket, slot, used))

    def forget(self, prompt: Prompt) -> None:
        self.prompts.remove(prompt)
        self._adapters.release(prompt.slot)

    def see(self, patches: int) -> None:
        """Some frames, of the first prompts that have some left. What goes wrong with them is their
        own fault.

        Raises:
            TooManyFrames: those that it names are to be seen from the first one on.
        """
        most = budget = max(1, patches // self._runner.patches)
        for prompt in [one for one in self.prompts if one.inputs is None]:
            try:
                budget = self._see_of(prompt, most, budget)
            except Exception as error:
                if lacks_memory(error):
                    prompt.frames, prompt.features = 0, []
                    told = f"{type(error).__name__}: {error}"
                    raise TooManyFrames(told, prompt, most) from None
                prompt.ticket.fail(error)
            if prompt.ticket.over:
                self.forget(prompt)
            elif prompt.inputs is None:
                return

    def _see_of(self, prompt: Prompt, most: int, budget: int) -> int:
        """What is left of the budget of frames."""
        request, features = prompt.ticket.request, prompt.ticket.request.features
        while features is None and request.pixels is not None:
            some = request.pixels[prompt.frames : prompt.frames + most]
            if len(some) > budget:
                return budget
            budget -= len(some)
            prompt.features.append(self._runner.see(some, request.pool_stride))
            prompt.frames += len(some)
            if prompt.frames >= len(request.pixels):
                features = torch.cat(prompt.features)
        prompt.features = []
        if features is not None:
            # Read when the caption is over: until then the host has waited for a later step.
            prompt.ticket.features = features.to("cpu", non_blocking=True)
        prompt.inputs = self._runner.inputs(request.ids, features, prompt.slot)
        return budget

    def parts(self, place: int, chunk: int) -> tuple[list[Part], list[Prompt]]:
        """What fits of the prompts into a step, in their order, and whose end is among it.

        Args:
            place: of the first one; the rows before it decode.
        """
        parts: list[Part] = []
        ended: list[Prompt] = []
        budget = chunk
        for prompt in self.prompts:
            if prompt.inputs is None or not (parted := self._parts(prompt, place, chunk, budget)):
                break
            parts += parted
            budget -= sum(len(part.inputs) for part in parted)
            if not parts[-1].last:
                break
            ended.append(prompt)
            place += prompt.candidates
        return parts, ended

    def _parts(self, prompt: Prompt, place: int, chunk: int, budget: int) -> list[Part]:
        """Whole chunks: where a prompt is cut depends on itself alone."""
        assert prompt.inputs is not None
        total, parts = len(prompt.inputs), []
        if not prompt.done:
            if min(chunk, total) > budget:
                return []
            self._runner.kv.clear(place)
        elif prompt.place != place:  # a row before it has ended
            self._runner.kv.copy(prompt.place, place, prompt.done)
        prompt.place = place
        while prompt.done < total:
            length = min(chunk, total - prompt.done)
            if length > budget:
                break
            end = prompt.done + length
            some = prompt.inputs[prompt.done : end]
            parts.append(Part(place, prompt.done, some, prompt.slot, end == total))
            prompt.done = end
            budget -= length
        return parts

    def leave(self, ended: list[Prompt]) -> None:
        """They decode from now on, each candidate a row with its own hold on the adapter."""
        for prompt in ended:
            self.prompts.popleft()
            for _ in range(prompt.candidates - 1):
                self._adapters.hold(prompt.slot)
