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
from contextlib import suppress
from dataclasses import replace

import torch

from shared import telemetry
from shared.errors import DoesNotFit, LacksMemory, NotFinite
from shared.messages import AdapterUsed
from workers.caption.engine.adapters import AdapterSlots, Ready
from workers.caption.engine.audit import faults
from workers.caption.engine.buckets import Mode
from workers.caption.engine.calls import Calls, known
from workers.caption.engine.entry import Entry, TooManyFrames
from workers.caption.engine.requests import Request, Row, Said, Ticket
from workers.caption.engine.runner import Runner, Step
from workers.caption.engine.size import Limits, Size
from workers.caption.language_lock import LanguageLock
from workers.model.adapter_files import Adapter
from workers.model.loading import LoadedModel
from workers.model.memory import lacks_memory

__all__ = ["Engine", "Size", "StepFailed"]


class StepFailed(RuntimeError):
    """What was done for several at once raised. Not one of our own words, so the machine is
    examined (workers/delivery/machine.py): after a CUDA error this process computes nothing more.
    """


log = telemetry.get_logger("jamak.engine")


class Engine:
    """Safe to call from many threads; one thread of its own computes.

    Attributes:
        size: as it was asked for, or smaller, once a step ran out of memory.

    Args:
        on_turn: called at each turn of the loop, with its decoding rows and tokens of prompts.
        ahead: begin a step before the tokens of the last one are read; by default where a device
            works beside the host. Without, the same loop does one thing after the other, and no row
            is begun once more when its caption is over.
        mode: how passes are made; `fast` is the same as `plain` on a CPU.
        limits: what was too much for this card before.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        size: Size,
        lock: LanguageLock | None = None,
        on_turn: Callable[[int, int], None] = lambda rows, tokens: None,
        *,
        ahead: bool | None = None,
        mode: Mode = "fast",
        limits: Limits | None = None,
    ) -> None:
        if size.adapters < 2:
            raise ValueError("an adapter could never take the place of the one in use")
        self._limits = limits or Limits()
        self._ahead = loaded.device.type != "cpu" if ahead is None else ahead
        self.size = size = size.within(self._limits.find(None))
        self._vocabulary, self._has_lock = loaded.model.lm_head.out_features, lock is not None
        self._ends, self._tokenizer = loaded.ends, loaded.tokenizer
        with torch.inference_mode():
            self._adapters = AdapterSlots(loaded.model, size.adapters)
            self._runner = Runner(loaded, self._adapters, lock, size.rows, size.positions, mode)
        self._entry = Entry(self._runner, self._adapters)
        self._waiting: deque[Ticket] = deque()
        self._rows: list[Row] = []
        self._step: Step | None = None
        """Begun, and not read yet."""
        self._tried_size = (0, 0)
        """Rows and tokens of prompts in the step that was begun last, or could not be."""
        self._current: AdapterUsed | None = None
        """Adapter of those who are let in,"""
        self._canary: AdapterUsed | None = None
        """and of those among them who ask for this one. None: there is none beside."""
        self._calls = Calls()
        self._wake = threading.Condition()
        self._closing = False
        self._is_new = False
        """Something was done since it was idle last."""
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
        """For requests that are let in from now on; waits until a slot is free for it. There is no
        canary beside it.

        Args:
            adapter: None: the base model, or one that is in memory.

        Raises:
            OutOfResources: there is no memory for it now; all others stay as they are.
        """
        ready = self._ready(adapter)
        self._call(lambda: self._use(used, ready))

    def stand_by(self, used: AdapterUsed, adapter: Adapter | None) -> None:
        """A canary beside what is in use, for requests that ask for it. Arguments and errors as of
        `use`; the one in use keeps its slot."""
        ready = self._ready(adapter)
        self._call(lambda: self._stand_by(used, ready))

    def _ready(self, adapter: Adapter | None) -> Ready | None:
        """In the caller's thread: who decodes does not wait for it."""
        try:
            return None if adapter is None else self._adapters.ready(adapter)
        except Exception as error:
            raise known(error) from error

    def audit(self) -> None:
        """Waits until it has nothing to do. Raises AssertionError: something is left behind."""
        self._call(self._audit)

    def _call(self, what: Callable[[], bool]) -> None:
        """In the engine's thread, in the order of these calls, once `what` is no longer False."""
        with self._wake:
            self._refuse_if_over()
            ticket = self._calls.add(what)
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

    @property
    def lives(self) -> bool:
        return self._thread.is_alive()

    # The engine's thread:

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._is_new = True
                    trouble = self._tried()
                    if trouble is not None:  # here, what it held on the device is free again
                        self._mend(*trouble)
        except Exception:
            log.exception("the engine ends")
        finally:
            with self._wake:
                self._closing = True
                tickets = [*self._waiting, *self._drop()]
            ended = RuntimeError("the engine has ended")
            self._calls.end(ended)
            for ticket in tickets:
                ticket.fail(ended)

    def _tried(self) -> tuple[bool, str] | None:
        """None: it went well. Else whether memory was lacking, and what was said."""
        try:
            self._turn()
        except Exception as error:
            lacking = lacks_memory(error)
            if not lacking:
                log.exception("a step failed")
            return lacking, f"{type(error).__name__}: {error}"
        return None

    def _mend(self, lacking: bool, said: str) -> None:
        """All who were at work are dropped; they begin again if there is a smaller step."""
        tickets = self._drop()
        if lacking and (smaller := self.size.less(*self._tried_size)):
            self._shrink(smaller, said)
            with self._wake:
                for ticket in reversed(tickets):
                    ticket.begin_again()
                    self._waiting.appendleft(ticket)
            return
        for ticket in tickets:
            ticket.fail(LacksMemory(f"memory ran out: {said}") if lacking else StepFailed(said))

    def _shrink(self, size: Size, said: str) -> None:
        """For good: what was too much once would be so again. What an adapter takes is not given
        back, either, so this holds for those that come after it."""
        self._fit(size)
        self._limits.learn(self._in_memory(), size)
        telemetry.ENGINE_SHRUNK.inc()
        log.warning(
            "less at once: memory ran out",
            rows=size.rows,
            chunk=size.chunk,
            patches=size.patches,
            message=said,
        )

    def _fit(self, size: Size) -> None:
        self.size = size
        telemetry.ENGINE_ROWS_MOST.set(size.rows)

    def _give_back(self) -> None:
        """The memory of rows that are not used any more, once nobody is at work."""
        unused = self._runner.kv.rows > self.size.rows
        if unused and not (self._rows or self._entry.prompts or self._step):
            try:
                self._runner.shrink(self.size.rows)
            except Exception as error:
                if not lacks_memory(error):
                    raise

    def _drop(self) -> list[Ticket]:
        """Everybody who is at work, in the order in which they came."""
        for row in self._rows:
            row.over = True
        for slot in [one.slot for one in self._rows] + [one.slot for one in self._entry.prompts]:
            self._adapters.release(slot)
        tickets = self._at_work()
        with suppress(RuntimeError):  # after an error of CUDA nothing can be set any more
            self._runner.free(0, self._runner.kv.rows)
        self._rows, self._step = [], None
        self._entry.prompts.clear()
        return tickets

    def _wait(self) -> bool:
        if self._is_new and not self._has_work():
            self._is_new = False
            self._look_over()
        with self._wake:
            while not (self._closing or self._has_work()):
                self._wake.wait()
            return not self._closing

    def _has_work(self) -> bool:
        return bool(self._waiting or self._entry.prompts or self._rows or self._calls or self._step)

    def _at_work(self) -> list[Ticket]:
        tickets = [row.ticket for row in self._rows] + [one.ticket for one in self._entry.prompts]
        return list(dict.fromkeys(tickets))

    def _look_over(self) -> None:
        """What is left behind by those who were at work. It costs one look at the device."""
        if found := self._faults():
            telemetry.ENGINE_FAULTS.inc(len(found))
            log.error("left behind in the engine", message="; ".join(found))

    def _turn(self) -> None:
        self._give_back()
        self._calls.answer()
        self._ask_all()
        self._let_in()
        self._see()
        before, self._step = self._step, self._begin()
        if not self._ahead:
            before, self._step = self._step, None
        if before is not None:
            self._read(before)

    def _use(self, used: AdapterUsed | None, ready: Ready | None) -> bool:
        """False: no slot is free yet."""
        self._canary = None
        if used is not None and not self._has(used, ready):
            return False
        self._current = used
        self._fit(self.size.within(self._limits.find(used.version if used else None)))
        return True

    def _stand_by(self, used: AdapterUsed, ready: Ready | None) -> bool:
        if not self._has(used, ready):
            return False
        self._canary = used
        for adapters in (used.version, self._in_memory()):
            self._fit(self.size.within(self._limits.find(adapters)))
        return True

    def _in_memory(self) -> str | None:
        """What room there is depends on it: the one in use, and beside it a canary."""
        beside = [one.version for one in (self._current, self._canary) if one is not None]
        return "+".join(beside) or None

    def _has(self, used: AdapterUsed, ready: Ready | None) -> bool:
        """It is in a slot, by now; the one in use stays in its own."""
        if self._adapters.find(used.version) is None:
            number = self._adapters.free(self._current.version if self._current else None)
            if number is None:
                return False
            if ready is None:
                raise ValueError(f"adapter {used.version} is not in memory")
            self._adapters.load(number, used.version, ready)
        return True

    def _whose(self, request: Request) -> AdapterUsed | None:
        canary = self._canary
        asked = canary is not None and request.canary == canary.generation
        return canary if asked else self._current

    def _audit(self) -> bool:
        """False: it is not idle."""
        if self._waiting or self._rows or self._entry.prompts or self._step:
            return False
        found = self._faults()
        assert not found, "; ".join(found)
        return True

    def _faults(self) -> list[str]:
        return faults(
            self._rows,
            self._entry.prompts,
            users=self._adapters.users,
            lengths=self._runner.lengths(),
            places=self._runner.kv.rows,
            most=self.size.rows,
        )

    def _ask_all(self) -> None:
        """Is each still wanted?"""
        for ticket in [*self._waiting]:
            _ask(ticket, runs=False)
        with self._wake:
            self._waiting = deque(one for one in self._waiting if not one.over)
        for ticket in self._at_work():
            _ask(ticket, runs=True)
        for prompt in [one for one in self._entry.prompts if one.ticket.over]:
            self._entry.forget(prompt)
        for row in [one for one in self._rows if one.ticket.over]:
            self._retire(row)

    def _let_in(self) -> None:
        free = self.size.rows - len(self._rows)
        free -= sum(one.candidates for one in self._entry.prompts)
        with self._wake:
            while self._waiting:
                wanted = len(self._waiting[0].request.samplings)
                if free < wanted <= self.size.rows:
                    return
                ticket = self._waiting.popleft()
                if wanted > self.size.rows:  # there were more, until memory ran out
                    ticket.fail(DoesNotFit(f"{wanted} candidates, and {self.size.rows} rows"))
                    continue
                _ask(ticket, runs=True)
                if ticket.over:
                    continue
                self._entry.let_in(ticket, self._whose(ticket.request))
                free -= wanted

    def _see(self) -> None:
        try:
            self._entry.see(self.size.patches)
        except TooManyFrames as error:
            if error.frames > 1:
                patches = error.frames // 2 * self._runner.patches
                self._shrink(replace(self.size, patches=patches), str(error))
                return
            if self.size.rows > 1:
                self._tried_size = 0, 0  # there is no less of it: so there have to be fewer rows
                raise
            error.prompt.ticket.fail(LacksMemory("one frame is too much for the memory here"))
            self._entry.forget(error.prompt)

    def _begin(self) -> Step | None:
        """One token of each row, and what fits of the prompts, in their order."""
        parts, ended = self._entry.parts(len(self._rows), self.size.chunk)
        self._tried_size = len(self._rows), sum(len(part.inputs) for part in parts)
        self._on_turn(*self._tried_size)
        if not self._rows and not parts:
            return None
        step = self._runner.begin(self._rows, parts, ended)
        self._entry.leave(ended)
        self._rows = [*step.rows]
        return step

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
            ended = row.ended(self._ends, self._tokenizer)
            if ended:
                chances = tuple(row.logprobs) if row.ticket.request.logprobs else ()
                row.ticket.say(row.candidate, Said(tuple(row.tokens), ended, chances, row.adapter))
                self._retire(row)

    def _retire(self, row: Row) -> None:
        row.over = True
        hole, last = self._rows.index(row), len(self._rows) - 1
        if hole != last:
            self._runner.move(last, hole, self._rows[last].length)
            self._rows[hole] = self._rows[last]
        self._rows.pop()
        self._runner.free(last, last + 1)
        self._adapters.release(row.slot)


def _ask(ticket: Ticket, *, runs: bool) -> None:
    if ticket.cancelled:
        ticket.fail(InterruptedError("cancelled"))
        return
    try:
        ticket.request.tick(runs)
    except Exception as error:
        ticket.fail(error)
