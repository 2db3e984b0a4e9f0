"""Who of the loop's fleet is killed, and when: one after the other, each at a moment of its own."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.loop_fleet import LoopFleet
from benchmarks.sickness_fronts import Asked


@dataclass(frozen=True)
class Kill:
    who: str
    """Of the fleet, or `redis`."""
    moment: str
    """For people."""
    is_due: Callable[[], bool] | None = None
    """Asked now and then."""
    behind: Callable[[str], bool] | None = None
    """Asked with the key of each object that a process behind the front has just written: the
    store has it, and the process does not live to hear of it."""


class Kills:
    """Args:
    wanted: in their order.
    """

    def __init__(
        self, fleet: LoopFleet, wanted: Sequence[Kill], say: Callable[[str], object]
    ) -> None:
        self._fleet, self._wanted, self._say = fleet, deque(wanted), say
        self.done: list[str] = []
        fleet.front.rules.append(self._behind)

    def look(self) -> None:
        """Now and then: is it time?"""
        kill = self._wanted[0] if self._wanted else None
        if kill is not None and kill.is_due is not None and kill.is_due():
            self._do(kill)

    def _behind(self, asked: Asked) -> bool:
        kill = self._wanted[0] if self._wanted else None
        if asked.method != "PUT" or kill is None or kill.behind is None:
            return False
        told = asked.answer()
        if told[0] == 200 and kill.behind(asked.key):
            self._do(kill)
            asked.drop()
        else:
            asked.reply(*told)
        return True

    def _do(self, kill: Kill) -> None:
        self._wanted.popleft()
        self._say(f"kill -9: {kill.who}, {kill.moment}")
        self._fleet.kill(kill.who)
        self.done.append(f"{kill.who}: {kill.moment}")
