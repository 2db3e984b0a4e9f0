"""What others want done in the engine's thread between two steps, in the order of asking."""

from collections import deque
from collections.abc import Callable

from shared.errors import OutOfResources
from workers.caption.engine.requests import Request, Said, Ticket
from workers.model.memory import lacks_memory


class Calls:
    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], bool], Ticket]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, what: Callable[[], bool]) -> Ticket:
        """In any thread. It is resolved once `what` is no longer False."""
        ticket = Ticket(Request(()))
        self._waiting.append((what, ticket))
        return ticket

    def answer(self) -> None:
        """In the engine's thread, at each turn."""
        while self._waiting:
            what, ticket = self._waiting[0]
            try:
                if not what():
                    return
                ticket.say(0, Said((), "stop", (), None))
            except Exception as error:
                ticket.fail(known(error))
            self._waiting.popleft()

    def end(self, error: Exception) -> None:
        """None is answered any more."""
        for _, ticket in self._waiting:
            ticket.fail(error)


def known(error: Exception) -> Exception:
    """The same; OutOfResources for memory that ran out."""
    if lacks_memory(error):
        return OutOfResources(f"{type(error).__name__}: {error}")
    return error
