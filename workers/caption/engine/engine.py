"""The loop that owns the device, and the way in for everybody else.

A turn of the loop: who waits is let in while rows are free; some frames are seen, or a chunk of a
prompt worked off, beside one token of every row that decodes; and the tokens of the step before are
read while the device works on this one. So rows that decode wait for one chunk at most.

Rows stay dense: the last one moves into a hole. A row that ends, or fails, concerns nobody else.
What a step of several raises ends all of them, for nobody knows whose fault it was; the loop goes
on. Memory that runs out is no fault of theirs: they begin again, fewer at once.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from shared import telemetry
from shared.errors import DoesNotFit, NotFinite
from shared.messages import AdapterUsed
from workers.caption.engine.adapters import AdapterSlots, Ready
from workers.caption.engine.batch import Part
from workers.caption.engine.buckets import Mode
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
    """In memory at once: the one in use, and one that others still end with, or that comes."""


class StepFailed(RuntimeError):
    """What was done for several at once raised. Not one of our own words, so the machine is
    examined (workers/delivery/machine.py): after a CUDA error this process computes nothing more.
    """


NO_MEMORY = (torch.OutOfMemoryError, MemoryError)

log = telemetry.get_logger("jamak.engine")


class Engine:
    """Safe to call from many threads; one thread of its own computes.

    Attributes:
        size: as it was asked for, or smaller, once a step ran out of memory.

    Args:
        on_turn: called at each turn of the loop, with its decoding rows and tokens of prompts.
        ahead: begin a step before the tokens of the last one are read. Without, the same loop does
            one thing after the other.
        mode: how passes are made; `fast` is the same as `plain` on a CPU.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        size: Size,
        lock: LanguageLock | None = None,
        on_turn: Callable[[int, int], None] = lambda rows, tokens: None,
        *,
        ahead: bool = True,
        mode: Mode = "fast",
    ) -> None:
        if size.adapters < 2:
            raise ValueError("an adapter could never take the place of the one in use")
        self.size, self._ahead = size, ahead
        self._vocabulary, self._has_lock = loaded.model.lm_head.out_features, lock is not None
        self._eos, self._decode = loaded.tokenizer.eos_token_id, loaded.tokenizer.decode
        with torch.inference_mode():
            self._adapters = AdapterSlots(loaded.model, size.adapters)
            self._runner = Runner(loaded, self._adapters, lock, size.rows, size.positions, mode)
        self._waiting: deque[Ticket] = deque()
        self._prompts: deque[Prompt] = deque()
        self._rows: list[Row] = []
        self._step: Step | None = None
        """Begun, and not read yet."""
        self._tried_size = (0, 0)
        """Rows and tokens of prompts in the step that was begun last, or could not be."""
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
        """Raises DoesNotFit; ValueError for what is no prompt of this model."""
        request.check(self._vocabulary, has_lock=self._has_lock)
        if request.longest > self.size.positions:
            raise DoesNotFit(
                f"{request.longest} tokens of prompt and answer do not fit a row's "
                f"{self.size.positions} positions"
            )
        if len(request.samplings) > self.size.rows:
            raise DoesNotFit(f"{len(request.samplings)} candidates, and {self.size.rows} rows")
        ticket = Ticket(request)
        with self._wake:
            self._refuse_if_over()
            self._waiting.append(ticket)
            self._wake.notify()
        return ticket

    def use(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        """For requests that are let in from now on; waits until a slot is free for it.

        Args:
            adapter: None: the base model, or one that is in memory.
        """
        # In the caller's thread: who decodes does not wait for it.
        ready = None if adapter is None else self._adapters.ready(adapter)
        self._call(lambda: self._use(used, ready))

    def audit(self) -> None:
        """Waits until it has nothing to do. Raises AssertionError: something is left behind."""
        self._call(self._audit)

    def _call(self, what: Callable[[], bool]) -> None:
        """In the engine's thread, in the order of these calls, once `what` is no longer False."""
        ticket = Ticket(Request(()))
        with self._wake:
            self._refuse_if_over()
            self._calls.append((what, ticket))
            self._wake.notify()
        ticket.result()

    def _refuse_if_over(self) -> None:
        if self._closing:
            raise RuntimeError("the engine has ended")

    def close(self) -> None:
        """Whoever still waits is told."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    # The engine's thread:

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    trouble = self._tried()
                    if trouble is not None:  # here, what it held on the device is free again
                        self._mend(*trouble)
        finally:
            with self._wake:
                self._closing = True
                tickets = [*self._waiting, *(ticket for _, ticket in self._calls), *self._drop()]
            for ticket in tickets:
                ticket.fail(RuntimeError("the engine has ended"))

    def _tried(self) -> tuple[bool, str] | None:
        """None: it went well. Else whether memory was lacking, and what was said."""
        try:
            self._turn()
        except Exception as error:
            lacking = isinstance(error, NO_MEMORY)
            if not lacking:
                log.exception("a step failed")
            return lacking, f"{type(error).__name__}: {error}"
        return None

    def _mend(self, lacking: bool, said: str) -> None:
        """All who were at work are dropped; they begin again if there is a smaller step."""
        tickets = self._drop()
        if lacking and (smaller := self._smaller()):
            self._shrink(smaller, said)
            with self._wake:
                for ticket in reversed(tickets):
                    ticket.begin_again()
                    self._waiting.appendleft(ticket)
            return
        for ticket in tickets:
            ticket.fail(DoesNotFit(f"memory ran out: {said}") if lacking else StepFailed(said))

    def _smaller(self) -> Size | None:
        """Than the step that was begun last; None: that is the least."""
        rows, tokens = self._tried_size
        if tokens > max(rows, 1):
            return replace(self.size, chunk=tokens // 2)
        return replace(self.size, rows=rows // 2) if rows > 1 else None

    def _shrink(self, size: Size, said: str) -> None:
        """For good: what was too much once would be so again."""
        self.size = size
        telemetry.ENGINE_ROWS_MOST.set(size.rows)
        log.warning(
            "less at once: memory ran out",
            rows=size.rows,
            chunk=size.chunk,
            patches=size.patches,
            message=said,
        )

    def _drop(self) -> list[Ticket]:
        """Everybody who is at work, in the order in which they came."""
        for row in self._rows:
            row.over = True
        for slot in [one.slot for one in self._rows] + [one.slot for one in self._prompts]:
            self._adapters.release(slot)
        tickets = self._at_work()
        self._rows, self._step = [], None
        self._prompts.clear()
        return tickets

    def _wait(self) -> bool:
        with self._wake:
            while not (self._closing or self._has_work()):
                self._wake.wait()
            return not self._closing

    def _has_work(self) -> bool:
        return bool(self._waiting or self._prompts or self._rows or self._calls or self._step)

    def _at_work(self) -> list[Ticket]:
        tickets = [row.ticket for row in self._rows] + [one.ticket for one in self._prompts]
        return list(dict.fromkeys(tickets))

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
        while self._calls:
            what, ticket = self._calls[0]
            try:
                if not what():
                    return
                ticket.say(0, Said((), "stop", (), None))
            except Exception as error:
                ticket.fail(error)
            with self._wake:
                self._calls.popleft()

    def _use(self, used: AdapterUsed | None, ready: Ready | None) -> bool:
        """False: no slot is free yet."""
        if used is not None and self._adapters.find(used.version) is None:
            number = self._adapters.free(self._current.version if self._current else None)
            if number is None:
                return False
            if ready is None:
                raise ValueError(f"adapter {used.version} is not in memory")
            self._adapters.load(number, used.version, ready)
        self._current = used
        return True

    def _audit(self) -> bool:
        """False: it is not idle."""
        if self._waiting or self._rows or self._prompts or self._step:
            return False
        assert not self._adapters.users, f"{self._adapters.users} users of adapters, and no row"
        assert self._runner.kv.rows >= self.size.rows, "more rows than memory for them"
        return True

    def _ask_all(self) -> None:
        """Is each still wanted?"""
        for ticket in [*self._waiting]:
            _ask(ticket, runs=False)
        with self._wake:
            self._waiting = deque(one for one in self._waiting if not one.over)
        for ticket in self._at_work():
            _ask(ticket, runs=True)
        for prompt in [one for one in self._prompts if one.ticket.over]:
            self._forget(prompt)
        for row in [one for one in self._rows if one.ticket.over]:
            self._retire(row)

    def _forget(self, prompt: Prompt) -> None:
        self._prompts.remove(prompt)
        self._adapters.release(prompt.slot)

    def _let_in(self) -> None:
        free = self.size.rows - len(self._rows) - sum(one.candidates for one in self._prompts)
        with self._wake:
            while self._waiting:
                wanted = len(self._waiting[0].request.samplings)
                if free < wanted <= self.size.rows:
                    return
                ticket = self._waiting.popleft()
                if wanted > self.size.rows:  # there were more, until memory ran out
                    ticket.fail(DoesNotFit(f"{wanted} candidates, and {self.size.rows} rows"))
                    continue
                used = self._current
                slot = self._adapters.find(used.version if used else None)
                assert slot is not None, "the adapter in use is in no slot"
                self._adapters.hold(slot)
                self._prompts.append(Prompt(ticket, slot, used))
                free -= wanted

    def _see(self) -> None:
        """Frames of the first prompts that have some left. Where the frames of one are parted
        depends on itself alone, and what goes wrong with them is its own fault."""
        most = budget = max(1, self.size.patches // self._runner.patches)
        for prompt in [one for one in self._prompts if one.inputs is None]:
            said = ""
            try:
                budget = self._see_of(prompt, most, budget)
            except NO_MEMORY as error:
                said = f"{type(error).__name__}: {error}"
            except Exception as error:
                prompt.ticket.fail(error)
            if said and most > 1:
                patches = most // 2 * self._runner.patches
                self._shrink(replace(self.size, patches=patches), said)
                return
            if said:
                prompt.ticket.fail(DoesNotFit("one frame is too much for the memory here"))
            if prompt.ticket.over:
                self._forget(prompt)
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
            prompt.features.append(self._runner.see(some))
            prompt.frames += len(some)
            if prompt.frames >= len(request.pixels):
                features = torch.cat(prompt.features)
        prompt.features = []
        prompt.ticket.features = features
        prompt.inputs = self._runner.inputs(request.ids, features, prompt.slot)
        return budget

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
        self._tried_size = len(self._rows), self.size.chunk - budget
        self._on_turn(*self._tried_size)
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
        if not prompt.done:
            self._runner.kv.clear(place)
        elif prompt.place != place:  # a row before it has ended
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
                    self._retire(one)
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

    def _retire(self, row: Row) -> None:
        row.over = True
        hole, last = self._rows.index(row), len(self._rows) - 1
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
