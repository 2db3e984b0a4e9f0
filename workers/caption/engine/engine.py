"""The loop that owns the device, and the way in for everybody else.

A turn of the loop: who waits is let in while rows are free; some frames are seen, or a chunk of a
prompt worked off, beside one token of every row that decodes; and the tokens of the step before are
read while the device works on this one. So rows that decode wait for one chunk at most.

Rows stay dense: the last one moves into a hole. A row that ends, or fails, concerns nobody else.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from shared.errors import DoesNotFit, JamakError
from shared.messages import AdapterUsed
from workers.caption.engine.adapters import BASE, AdapterSlots
from workers.caption.engine.decoder import Part
from workers.caption.engine.requests import Ended, Prompt, Request, Row, Said, Ticket
from workers.caption.engine.runner import Runner, Step
from workers.caption.language_lock import LanguageLock
from workers.model.adapter_files import Adapter
from workers.model.loading import LoadedModel


@dataclass(frozen=True)
class Size:
    rows: int
    """Candidates at once."""
    positions: int
    """Of a row: visual, prompt and new tokens."""
    chunk: int = 512
    """Tokens of prompts in a step. A prompt is cut at its multiples, whoever else is there."""
    patches: int = 2304
    """Of frames, seen in a step: four of 336 pixels. One frame is, at least."""
    adapters: int = 2
    """In memory at once."""


class NotFinite(JamakError):
    """The model's numbers are none."""

    reason = "not-finite"


class Engine:
    """Safe to call from many threads; one thread of its own computes.

    Args:
        on_turn: called at each turn of the loop, with its decoding rows and tokens of prompts.
        ahead: begin a step before the tokens of the last one are read. Without, the same loop does
            one thing after the other.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        size: Size,
        lock: LanguageLock | None = None,
        on_turn: Callable[[int, int], None] = lambda rows, tokens: None,
        *,
        ahead: bool = True,
    ) -> None:
        self.size, self._ahead = size, ahead
        self._eos, self._decode = loaded.tokenizer.eos_token_id, loaded.tokenizer.decode
        with torch.inference_mode():
            self._adapters = AdapterSlots(loaded.model, size.adapters)
            self._runner = Runner(loaded, self._adapters, lock, size.rows, size.positions)
        self._waiting: deque[Ticket] = deque()
        self._prompts: deque[Prompt] = deque()
        self._rows: list[Row] = []
        self._step: Step | None = None
        """Begun, and not read yet."""
        self._current: AdapterUsed | None = None
        """Adapter of those who are let in."""
        self._calls: deque[tuple[Callable[[], bool], Ticket]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._on_turn = on_turn
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # From any thread:

    def submit(self, request: Request) -> Ticket:
        """Raises DoesNotFit."""
        if request.longest > self.size.positions:
            raise DoesNotFit(
                f"{request.longest} tokens of prompt and answer do not fit a row's "
                f"{self.size.positions} positions"
            )
        if len(request.samplings) > self.size.rows:
            raise DoesNotFit(f"{len(request.samplings)} candidates, and {self.size.rows} rows")
        ticket = Ticket(request)
        with self._wake:
            if self._closing:
                raise RuntimeError("the engine has ended")
            self._waiting.append(ticket)
            self._wake.notify()
        return ticket

    def use(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        """For requests that are let in from now on; waits until a slot is free for it.

        Args:
            adapter: None: the base model, or one that is in memory.
        """
        ticket = Ticket(Request(()))
        with self._wake:
            self._calls.append((lambda: self._use(used, adapter), ticket))
            self._wake.notify()
        ticket.result()

    def close(self) -> None:
        """Whoever still waits is told."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    # The engine's thread:

    def _run(self) -> None:
        with torch.inference_mode():
            while self._wait():
                self._turn()
        with self._wake:
            tickets = [*self._waiting, *(ticket for _, ticket in self._calls)]
        for ticket in [*tickets, *(one.ticket for one in self._prompts), *self._decoding()]:
            ticket.fail(RuntimeError("the engine has ended"))

    def _wait(self) -> bool:
        with self._wake:
            while not (self._closing or self._has_work()):
                self._wake.wait()
            return not self._closing

    def _has_work(self) -> bool:
        return bool(self._waiting or self._prompts or self._rows or self._calls or self._step)

    def _decoding(self) -> list[Ticket]:
        return list({id(row.ticket): row.ticket for row in self._rows}.values())

    def _turn(self) -> None:
        self._answer_calls()
        self._ask_all()
        self._let_in()
        self._see()
        before, self._step = self._step, self._begin()
        if not self._ahead:
            before, self._step = self._step, None
        if before is not None:
            self._read(before)

    def _answer_calls(self) -> None:
        for _ in range(len(self._calls)):
            with self._wake:
                what, ticket = self._calls.popleft()
            try:
                if what():
                    ticket.say(0, Said((), "stop", (), None))
                else:
                    with self._wake:
                        self._calls.append((what, ticket))
            except Exception as error:
                ticket.fail(error)

    def _use(self, used: AdapterUsed | None, adapter: Adapter | None) -> bool:
        """False: no slot is free yet."""
        if used is not None and self._adapters.find(used.version) is None:
            number = self._adapters.free(self._current.version if self._current else None)
            if number is None:
                return False
            if adapter is None:
                raise ValueError(f"adapter {used.version} is not in memory")
            self._adapters.load(number, used.version, adapter)
        self._current = used
        return True

    def _ask_all(self) -> None:
        """Is each still wanted?"""
        with self._wake:
            for ticket in self._waiting:
                _ask(ticket, runs=False)
            self._waiting = deque(one for one in self._waiting if not one.over)
        for ticket in [*(one.ticket for one in self._prompts), *self._decoding()]:
            _ask(ticket, runs=True)
        for prompt in [one for one in self._prompts if one.ticket.over]:
            self._prompts.remove(prompt)
            self._adapters.release(prompt.slot)
            if prompt.done:
                self._runner.kv.clear(prompt.place)
        for row in [one for one in self._rows if one.ticket.over]:
            self._retire(row)

    def _let_in(self) -> None:
        free = self.size.rows - len(self._rows) - sum(one.candidates for one in self._prompts)
        with self._wake:
            while self._waiting and len(self._waiting[0].request.samplings) <= free:
                ticket = self._waiting.popleft()
                used = self._current
                slot = self._adapters.find(used.version if used else None) or BASE
                self._adapters.hold(slot)
                prompt = Prompt(ticket, slot, used)
                self._prompts.append(prompt)
                free -= prompt.candidates

    def _see(self) -> None:
        """Frames of the first prompts that have some left. Where the frames of one are parted
        depends on itself alone."""
        most = budget = max(1, self.size.patches // self._runner.patches)
        for prompt in self._prompts:
            if prompt.inputs is not None:
                continue
            request, features = prompt.ticket.request, prompt.ticket.request.features
            while features is None and request.pixels is not None:
                some = request.pixels[prompt.frames : prompt.frames + most]
                if len(some) > budget:
                    return
                budget -= len(some)
                prompt.features.append(self._runner.see(some))
                prompt.frames += len(some)
                if prompt.frames == len(request.pixels):
                    features = torch.cat(prompt.features)
            prompt.features = []
            prompt.ticket.features = features
            prompt.inputs = self._runner.inputs(request.ids, features, prompt.slot)

    def _begin(self) -> Step | None:
        """One token of each row, and what fits of the prompts, in their order."""
        parts: list[Part] = []
        ended: list[Prompt] = []
        place, budget = len(self._rows), self.size.chunk
        for prompt in self._prompts:
            if prompt.inputs is None or not (parted := self._parts(prompt, place, budget)):
                break
            parts += parted
            budget -= sum(len(part.inputs) for part in parted)
            if not parts[-1].last:
                break
            ended.append(prompt)
            place += prompt.candidates
        self._on_turn(len(self._rows), self.size.chunk - budget)
        if not self._rows and not parts:
            return None
        step = self._runner.begin(self._rows, parts, ended)
        for prompt in ended:
            self._prompts.popleft()
            for _ in range(prompt.candidates - 1):
                self._adapters.hold(prompt.slot)
        self._rows = [*step.rows]
        return step

    def _parts(self, prompt: Prompt, place: int, budget: int) -> list[Part]:
        """Whole chunks: where a prompt is cut depends on itself alone."""
        assert prompt.inputs is not None
        if prompt.done and prompt.place != place:  # a row before it has ended
            self._runner.kv.copy(prompt.place, place, prompt.done)
        prompt.place = place
        total, parts = len(prompt.inputs), []
        while prompt.done < total:
            length = min(self.size.chunk, total - prompt.done)
            if length > budget:
                break
            end = prompt.done + length
            some = prompt.inputs[prompt.done : end]
            parts.append(Part(place, prompt.done, some, prompt.slot, end == total))
            prompt.done = end
            budget -= length
        return parts

    def _read(self, step: Step) -> None:
        for row, (token, fine, chance) in zip(step.rows, step.read(), strict=True):
            if row.over:
                continue
            if not fine:
                row.ticket.fail(NotFinite("the model's numbers for it are not finite"))
                for one in [one for one in self._rows if one.ticket is row.ticket]:
                    self._retire(one, clear=True)
                continue
            row.ticket.hear()
            row.tokens.append(token)
            row.logprobs.append(chance)
            ended = self._ended(row)
            if ended:
                chances = tuple(row.logprobs) if row.ticket.request.logprobs else ()
                row.ticket.say(row.candidate, Said(tuple(row.tokens), ended, chances, row.adapter))
                self._retire(row)

    def _ended(self, row: Row) -> Ended | None:
        if row.tokens[-1] == self._eos:
            return "eos"
        if row.sampling.stop:
            text = self._decode(row.tokens, skip_special_tokens=True)
            if any(one in text for one in row.sampling.stop):
                return "stop"
        return "length" if len(row.tokens) == row.sampling.max_new_tokens else None

    def _retire(self, row: Row, *, clear: bool = False) -> None:
        row.over = True
        hole, last = self._rows.index(row), len(self._rows) - 1
        if clear:
            self._runner.kv.clear(hole)
        if hole != last:
            self._runner.move(last, hole, self._rows[last].length)
            self._rows[hole] = self._rows[last]
        self._rows.pop()
        self._adapters.release(row.slot)


def _ask(ticket: Ticket, *, runs: bool) -> None:
    if ticket.cancelled:
        ticket.fail(InterruptedError("cancelled"))
        return
    try:
        ticket.request.tick(runs)
    except Exception as error:
        ticket.fail(error)
