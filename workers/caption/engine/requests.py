"""What is asked of the engine, and what it answers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from shared.messages import AdapterUsed
from shared.text import composed
from workers.caption.engine.sampling import Draws, Sampling
from workers.model.pieces import THOUGHTS
from workers.model.spoken import ending, spoken

Ended = Literal["eos", "stop", "length"]


@dataclass(frozen=True)
class Said:
    """One candidate."""

    tokens: tuple[int, ...]
    """With the end token, if it came to that."""
    ended: Ended
    logprobs: tuple[float, ...]
    """Natural logarithm of each token's probability by the model alone: before temperature, penalty
    and lock. Only when asked for."""
    adapter: AdapterUsed | None
    """None = the base model."""


@dataclass(frozen=True)
class Request:
    ids: tuple[int, ...]
    """Of the prompt, each visual token one of them."""
    pixels: torch.Tensor | None = None
    """(frames, 3, side, side) as the vision tower wants them, on the CPU."""
    features: torch.Tensor | None = None
    """Or what the vision tower made of them, (visual tokens, vision hidden), on the CPU."""
    pool_stride: int | None = None
    """Of the frames: 3 = 3x3 pooling. None: the checkpoint's."""
    samplings: tuple[Sampling, ...] = (Sampling(),)
    """One for each candidate; they share the prompt's keys and values."""
    logprobs: bool = False
    canary: int | None = None
    """The generation of the pointer whose canary is to say it. None, or where another one or none
    is beside: what is in use."""
    tick: Callable[[bool], None] = lambda runs: None
    """Called at every step from the engine's thread; False while it waits for a row. What it raises
    ends the request."""

    def check(self, vocabulary: int, *, has_lock: bool) -> None:
        """Raises ValueError. On a GPU a token that does not exist would end the whole process."""
        if not self.ids or not self.samplings:
            raise ValueError("a request has a prompt and at least one candidate")
        if min(self.ids) < 0 or max(self.ids) >= vocabulary:
            raise ValueError(f"tokens {min(self.ids)} to {max(self.ids)} of {vocabulary}")
        if any(one.locked for one in self.samplings) and not has_lock:
            raise ValueError("there is no language lock")

    @property
    def longest(self) -> int:
        """Positions that a row of it may come to."""
        return len(self.ids) + max(one.max_new_tokens for one in self.samplings)


class Ticket:
    """For whoever waits for a request. It is resolved once, from the engine's thread."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.features: torch.Tensor | None = None
        """Of the vision tower, on the CPU; to be read once the ticket is over."""
        self.cancelled = False
        self.first_s: float | None = None
        """From when it was asked to its first token."""
        self._asked = time.monotonic()
        self._said: list[Said | None] = [None] * len(request.samplings)
        self._error: BaseException | None = None
        self._over = threading.Event()

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def cancel(self) -> None:
        """It ends at the next step, if it has not yet."""
        self.cancelled = True

    def begin_again(self) -> None:
        """Nothing of it counts that was said so far."""
        self._said = [None] * len(self._said)

    def hear(self) -> None:
        """A token of it is known."""
        if self.first_s is None:
            self.first_s = time.monotonic() - self._asked

    def say(self, candidate: int, said: Said) -> None:
        self._said[candidate] = said
        if None not in self._said:
            self._over.set()

    def fail(self, error: BaseException) -> None:
        if not self.over:
            self._error = error
            self._over.set()

    def result(self, timeout_s: float | None = None) -> list[Said]:
        """Raises what the request ended with; TimeoutError: it has not ended."""
        if not self._over.wait(timeout_s):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return [one for one in self._said if one is not None]


@dataclass(eq=False)
class Prompt:
    """A request that was let in, until its prompt is in the cache."""

    ticket: Ticket
    slot: int
    adapter: AdapterUsed | None
    features: list[torch.Tensor] = field(default_factory=list)
    frames: int = 0
    """Seen."""
    inputs: torch.Tensor | None = None
    """(tokens, hidden), once all frames are seen."""
    done: int = 0
    """Tokens in the cache, in row `place`."""
    place: int = 0

    @property
    def candidates(self) -> int:
        return len(self.ticket.request.samplings)


@dataclass(eq=False)
class Row:
    """One candidate that decodes."""

    ticket: Ticket
    candidate: int
    slot: int
    adapter: AdapterUsed | None
    length: int
    """Positions in the cache, with those of steps that have been begun."""
    draws: Draws
    tokens: list[int] = field(default_factory=list)
    """Known ones: while a step is begun ahead, one fewer than were drawn."""
    logprobs: list[float] = field(default_factory=list)
    over: bool = False

    @property
    def sampling(self) -> Sampling:
        return self.ticket.request.samplings[self.candidate]

    def ended(self, ends: frozenset[int], tokenizer: Any) -> Ended | None:
        """With its last token, as far as is known.

        Args:
            ends: the tokens that end a caption.
        """
        if self.tokens[-1] in ends:
            return "eos"
        if self.sampling.stop:
            # As it is read at last: neither in bytes that may become another character, nor in
            # another form of the same text. All of it is read only where the end may hold one.
            stops = [composed(one) for one in self.sampling.stop]
            end = composed(ending(tokenizer, self.tokens, max(map(len, stops))))
            if THOUGHTS[1] in end or any(one in end for one in stops):
                text = composed(spoken(tokenizer, self.tokens, finished=False).heard)
                if any(one in text for one in stops):
                    return "stop"
        return "length" if len(self.tokens) == self.sampling.max_new_tokens else None
