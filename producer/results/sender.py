"""Results out of Redis to the one place that wants to hear of them, each at least once.

Whatever happens there stops no caption: they wait in Redis, as many as fit. A thread of the feeder.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import redis

from producer.results.sinks import AT_ONCE, Away, Outcome, Teller
from shared import telemetry
from shared.broker.told_results import SAY_AGAIN_S, Results, ToTell
from shared.telemetry.metrics import RESULTS, RESULTS_AWAY

LOOK_S = 1.0
LONGEST_WAIT_S = 60.0
MOST_TRIES = 8
"""Of an event that the place refuses, and no other: then it is given up. Of one that may be taken
later: then it goes behind the others, for it may be the one that the place fails at."""

log = telemetry.get_logger("jamak.results")


class Sender:
    """Args:
    results: where they wait.
    teller: who tells them.
    wait: for so many seconds; True = stop.
    """

    def __init__(self, results: Results, teller: Teller, wait: Callable[[float], bool]) -> None:
        self._results, self._teller, self._wait = results, teller, wait
        self._mine: list[ToTell] = []
        """Taken, and not told yet; the oldest first."""
        self._refused: Counter[str] = Counter()
        self._again: Counter[str] = Counter()
        self._in_vain = 0
        self._said_at = float("-inf")
        self._ails = telemetry.Repeated(log, "tells results again", quiet_s=0.0)

    def start(self) -> None:
        threading.Thread(target=self.run, name="results", daemon=True).start()

    def run(self) -> None:
        """Until it is told to stop. What it had taken is another's in a minute."""
        pause_s = 0.0
        while not self._wait(pause_s):
            try:
                pause_s = self.turn()
            except redis.RedisError as error:
                self._ails.failed("cannot ask Redis for results", message=str(error))
                pause_s = LOOK_S
            except Exception:
                log.exception("could not tell results")
                pause_s = LONGEST_WAIT_S

    def turn(self) -> float:
        """Tell some; how long to wait before the next turn.

        Raises redis.RedisError.
        """
        self._results.keep(self._mine)
        if len(self._mine) < AT_ONCE:
            self._mine += self._take(AT_ONCE - len(self._mine))
        if not self._mine:
            self._worked()
            return LOOK_S
        try:
            became = self._teller.send(self._mine)
        except Away as error:
            self._is_away(str(error))
            self._put_behind(self._mine)
            return self._longer_s()
        told = list(zip(self._mine, became, strict=True))
        over = [one for one, (outcome, why) in told if self._is_over(one, outcome, why)]
        self._results.done(over)
        self._forget(over)
        if over:
            self._in_vain = 0
            self._worked()
        self._put_behind([one for one, (outcome, _) in told if outcome == "again"])
        return 0.0 if over and not self._mine else self._longer_s()

    def _longer_s(self) -> float:
        self._in_vain += 1
        return float(min(2.0 ** min(self._in_vain - 1, 6), LONGEST_WAIT_S))

    def _put_behind(self, again: Sequence[ToTell]) -> None:
        """Those that were tried often, so that they do not keep the others from being told."""
        self._again.update(one.id for one in again)
        tired = [one for one in again if one.late or self._again[one.id] >= MOST_TRIES]
        self._results.put_behind(tired)
        self._forget(tired)

    def _forget(self, some: Sequence[ToTell]) -> None:
        for one in some:
            self._mine.remove(one)
            del self._refused[one.id], self._again[one.id]

    def _take(self, most: int) -> list[ToTell]:
        try:
            return self._results.take(most)
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._results.begin()  # at first, and after Redis has lost everything
            return self._results.take(most)

    def _is_over(self, one: ToTell, outcome: Outcome, why: str) -> bool:
        if outcome == "sent":
            RESULTS.labels("sent").inc()
        elif outcome == "again":
            self._ails.failed("a result could not be told", message=why)
            return False
        else:
            self._refused[one.id] += 1
            if self._refused[one.id] < MOST_TRIES:
                return False
            RESULTS.labels("refused").inc()
            log.error("a result was refused", message=why, result=one.event)
        return True

    def _is_away(self, why: str) -> None:
        RESULTS_AWAY.set(1)
        self._ails.failed("cannot tell results", message=why, waiting=len(self._mine))
        self._say(why)

    def _worked(self) -> None:
        """Something was told, or nothing is left to tell."""
        RESULTS_AWAY.set(0)
        self._ails.worked()
        if self._said_at != float("-inf"):
            self._results.say("")
            self._said_at = float("-inf")

    def _say(self, why: str) -> None:
        """For `jamak status`."""
        if time.monotonic() - self._said_at > SAY_AGAIN_S:
            try:
                self._results.say(why)
            except redis.RedisError:
                return  # then that is what is the matter
            self._said_at = time.monotonic()
