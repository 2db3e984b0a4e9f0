"""What this worker holds: takes messages while slots are free, and keeps their leases alive.

A lease is renewed while the progress of its job moves, and no longer: a job that hangs loses it,
and so does a process that was stopped or cut off. What was lost is neither written nor
acknowledged here any more.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from shared import telemetry
from shared.broker.backlog_progress import BacklogProgress
from shared.broker.leased_queues import WAIT_S, Busy, Delivery, Held, LeasedQueues
from shared.broker.queue_order import QueueOrder
from shared.broker.refusals import passes
from shared.errors import Draining
from shared.messages import BacklogLine
from workers.delivery.full import FullRate
from workers.delivery.lease import LOOK_AGAIN_S, Lease
from workers.delivery.machine import Machine
from workers.delivery.outages import Outages
from workers.delivery.outbox import Outbox, unheard
from workers.delivery.pauses import Pauses
from workers.delivery.spending import Spending

BEATS_PER_TIMEOUT = 4
LONGEST_FLUSH_S = 2.0
FEWER_S = 600.0
"""For so long a machine that was too small for its jobs takes fewer of them at once."""

log = telemetry.get_logger("jamak.leases")


class Leases:
    """All of them, and the thread that keeps them. Thread-safe.

    Args:
        slots: how many messages may be in hand.
        about: what this worker says about itself, read at each beat.
    """

    def __init__(
        self, queues: LeasedQueues, slots: int, about: Callable[[], dict[str, Any]]
    ) -> None:
        self.queues, self.slots = queues, slots
        self.spending = Spending()
        self.received_at = self.answered_at = self.kept_at = self.asked_at = time.monotonic()
        """When a message came last, when Redis answered last, when leases were looked after, and
        when Celery's loop last wanted a message."""
        self._about = about
        self._in_hand: dict[str, Lease] = {}
        self._busy_s = self._busy_since = 0.0
        self._changed = threading.Condition()
        self._order: QueueOrder | None = None
        self._taking = True
        self.pauses = Pauses(self._look_again)
        """While any of them holds, nothing is taken."""
        self.machine = Machine(self.pauses, self.take_fewer)
        self._fewer, self._fewer_until = slots, 0.0
        self.outages: Outages | None = None
        """Of the store of this worker, once it has one."""
        self._asking = threading.Lock()
        """While an answer may bring a message."""
        self._unanswered = False
        """What became of the last take is not known."""
        self.held = False
        """By the last answer: the scaler lets this worker take nothing, for it is to go."""
        self._redis = telemetry.Repeated(log, "Redis answers again")
        self._outbox = Outbox(queues, self._redis)
        self.full = FullRate()
        self.ended = 0
        """Messages that were settled here for good."""
        self.left: int | None = None
        """How many messages more are taken; None: any number."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()
        self.pauses.start()

    # Taking.

    def receive(self, queues: list[str], timeout_s: float) -> Delivery | None:
        """The next message; None = ask again. Returns after `timeout_s` at the latest."""
        self.asked_at = time.monotonic()
        self._order = self._order or QueueOrder(queues)
        if not self._has_room(timeout_s):
            return None
        if self._unanswered:
            self._stopping.wait(LOOK_AGAIN_S)
            return None
        try:
            delivery = self._take(self._order)
            if delivery is None:
                self.queues.wait(queues, min(timeout_s, WAIT_S))  # and then we are asked again
        except Busy:
            self.received_at = time.monotonic()
            self._wait_for_change(timeout_s)
            return None
        except Held:
            self._heard()
            self.received_at = time.monotonic()  # it is not deaf
            self._be_held(True)
            self._stopping.wait(min(timeout_s, WAIT_S))  # and nobody's token is taken meanwhile
            return None
        except redis.RedisError as error:
            self._redis.failed(unheard(error), message=str(error), when="taking")
            self._stopping.wait(LOOK_AGAIN_S)
            return None
        self._heard()
        return delivery

    def _be_held(self, held: bool) -> None:
        if held != self.held:
            self.held = held
            log.info("takes nothing: this worker is to go" if held else "takes work again")

    def _heard(self) -> None:
        self.answered_at = time.monotonic()
        self._redis.worked()

    def _take(self, order: QueueOrder) -> Delivery | None:
        with self._asking:
            return self._ask(order) if self._taking and not self.pauses else None

    def _ask(self, order: QueueOrder) -> Delivery | None:
        turn = order.next()
        lease = self.queues.new_lease()
        try:
            delivery = self.queues.take(
                lease, turn.queues, in_flight=len(self._in_hand), passed_over=turn.passed_over
            )
        except redis.RedisError:
            # The message may be ours without our knowing, or may become so: then it is given back
            # as it was. Until that is heard nothing else is taken, so there is never more of it.
            self._unanswered = True
            self._outbox.tell(lambda: self._untake(lease))
            raise
        self._be_held(False)
        if delivery is None:
            return None
        order.took(delivery.queue)
        if delivery.history.workers:
            telemetry.REDELIVERED.inc()
        self.received_at = time.monotonic()
        with self._changed:
            if self.left:
                self.left -= 1
            if not self._in_hand:
                self._busy_since = self.received_at
            self._in_hand[delivery.lease] = Lease(
                delivery, self.queues, self.spending, self._outbox.tell
            )
            self.full.took(delivery.lease, self.at_once)
        return delivery

    def _untake(self, lease: str) -> None:
        try:
            self.queues.untake(lease)
        except redis.RedisError as error:
            if isinstance(error, redis.ResponseError) and not passes(error):
                self._unanswered = False  # it is given up
            raise
        self._unanswered = False

    def _has_room(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(self._room, timeout_s)

    def _room(self) -> bool:
        in_hand = self._in_hand.values()
        alone = any(lease.delivery.alone for lease in in_hand)
        free = len(in_hand) < self.at_once and not alone
        return self._taking and free and self.left != 0 and not self.pauses

    @property
    def at_once(self) -> int:
        """How many messages may be in hand now."""
        return self._fewer if time.monotonic() < self._fewer_until else self.slots

    def take_fewer(self) -> bool:
        """One fewer at once than now, for a while; False: there is one alone."""
        with self._changed:
            if len(self._in_hand) < 2:
                return False
            self._fewer = len(self._in_hand) - 1
            self._fewer_until = time.monotonic() + FEWER_S
        log.warning("takes fewer at once", at_once=self._fewer, seconds=FEWER_S)
        return True

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait_for_change(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait(timeout_s)

    @property
    def free(self) -> int:
        return self.at_once - len(self._in_hand) if self._room() else 0

    @property
    def busy_s(self) -> float:
        """For how long there was anything in hand, so far."""
        with self._changed:
            since = time.monotonic() - self._busy_since if self._in_hand else 0.0
            return self._busy_s + since

    # While a task runs, and when it ends.

    def of(self, lease: str) -> Lease:
        return self._in_hand[lease]

    def in_hand(self) -> list[Lease]:
        with self._changed:
            return list(self._in_hand.values())

    def in_hand_of(self) -> dict[str, tuple[int, float]]:
        """Queue -> how many messages of it are in hand, and how many units of work."""
        found: dict[str, tuple[int, float]] = {}
        for lease in self.in_hand():
            messages, units = found.get(lease.delivery.queue, (0, 0.0))
            found[lease.delivery.queue] = messages + 1, round(units + lease.units, 4)
        return found

    def finished(self, lease: str) -> None:
        self._end(lease, lambda: self._ack(lease))

    def _ack(self, lease: str) -> None:
        self.ended += 1
        self._outbox.ack(lease, self._in_hand[lease].event)

    def note(self, line: BacklogLine, outcome: str) -> None:
        """How a line of a backlog ended; before its message is acknowledged."""
        progress = BacklogProgress(self.queues, line.name)
        self._outbox.tell(lambda: progress.note(line.line, outcome))

    def refuse(self, lease: str, reason: str) -> None:
        telemetry.POISON.inc()
        log.error("set aside", reason=reason)
        if lease in self._in_hand:
            self.of(lease).account.wasted("failures")
        self._end(lease, lambda: self._outbox.tell(lambda: self.queues.poison(lease, reason)))

    def release(
        self, lease: Lease, delay_s: float = 0.0, *, tried: bool = True, why: str = ""
    ) -> None:
        """Give the message back; `tried`: this was one of its attempts, and met the error `why`."""
        name = lease.delivery.lease
        history = lease.delivery.history.tried() if tried else None

        def give_back() -> None:
            if not tried:
                lease.weigh(1.0)  # whoever does it counts it anew; this turn was one
            self._outbox.tell(lambda: self.queues.release(name, history, delay_s, why))

        self._settle(lease, give_back)

    def _end(self, name: str, how: Callable[[], object]) -> None:
        """The task is over: the outbox is told how the message ended, and then its slot is free."""
        lease = self._in_hand.get(name)
        if lease is None:
            return
        self._settle(lease, how)
        self.spending.close(lease.account)
        with self._changed:
            self.full.ended(name, lease.done, self.at_once)
            self._in_hand.pop(name, None)
            if not self._in_hand:
                self._busy_s += time.monotonic() - self._busy_since
            self._changed.notify_all()

    def _settle(self, lease: Lease, how: Callable[[], object]) -> None:
        with self._changed:
            held, lease.held = lease.held, False
        if held:  # else it was decided before
            how()

    # The end.

    def stop_taking(self) -> None:
        """When this returns, nothing is on its way here any more."""
        with self._changed:
            self._taking = False
            self._changed.notify_all()
        with self._asking:
            pass

    def wait_until_empty(self, timeout_s: float) -> None:
        """Until all tasks have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._in_hand, timeout_s)

    @property
    def taking(self) -> bool:
        return self._taking

    def hand_back(self) -> int:
        """Everything that is still held, as it was; how many that were. Nobody is to blame."""
        self.stop_taking()
        held = [lease for lease in self.in_hand() if lease.held]
        for lease in held:
            self.release(lease, tried=False)
            lease.tell(Draining.reason)
            lease.lose()
        return len(held)

    def flush(self, timeout_s: float) -> bool:
        """Wait until Redis has heard what was decided here; False: it has not, in that time."""
        return self._outbox.flush(timeout_s)

    def leave(self) -> None:
        """Nothing is held any more, and nobody has to wait for this worker's silence."""
        self._stopping.set()
        self.pauses.stop()
        if self.outages is not None:
            self.outages.stop()
        self.flush(LONGEST_FLUSH_S)
        try:
            self.queues.leave()
        except redis.RedisError as error:
            log.warning("could not say goodbye", message=str(error))

    # The beat.

    def _keep(self) -> None:
        while not self._stopping.wait(self._pause_s()):
            try:
                self._beat()
            except Exception:
                log.exception("no beat")  # the next one may succeed

    def _pause_s(self) -> float:
        beat_s = self.queues.timeout_s / BEATS_PER_TIMEOUT
        away = time.monotonic() - self.answered_at > beat_s
        return LOOK_AGAIN_S if away else beat_s

    def _beat(self) -> None:
        self.kept_at = time.monotonic()
        moving = [
            (lease, pulse)
            for lease in self.in_hand()
            if lease.held and (pulse := lease.moved()) is not None
        ]
        names = [lease.delivery.lease for lease, _ in moving]
        try:
            answers = self.queues.beat(self._about(), names)
        except redis.RedisError as error:
            self._redis.failed(unheard(error), message=str(error), when="beating")
            return
        self._heard()
        for (lease, pulse), still_held in zip(moving, answers, strict=True):
            lease.keep(pulse)
            if not still_held and lease.held:
                telemetry.LEASES_LOST.inc()
                log.warning("lease lost", lease=lease.delivery.lease, stage=lease.progress.stage)
                lease.lose()
