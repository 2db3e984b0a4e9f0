"""Jobs on their way: a listener, a feeder and two takers in this process, as long as a test likes.

Each has connections of its own, as the processes have that they stand for. What is done with a job
is to note it; the rest is what workers do.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from producer.backlog import scan
from producer.backlog.feeder import Feed, Feeder
from producer.backlog.manifest import Backlog
from producer.jobs.high_water_marks import MOST, HighWaterMarks
from producer.jobs.in_flight import first_argument
from producer.uploads.listen import Listener
from shared.broker.backlog_progress import fed_of
from shared.broker.leased_queues import History, LeasedQueues
from shared.errors import LeaseLost
from shared.messages import CaptionJob, decode
from tests.backlogs import fill
from tests.integration.test_listen import left, listener, tell
from tests.waiting import wait_until
from tests.world import World
from workers.delivery.leases import Leases

QUEUES = ["caption.t4", "caption.t4.bulk"]
WAITING = 4
"""So many lines are fed ahead."""
PAUSE_S = 0.05
"""Of the loops, which take a second otherwise."""


class Taker:
    """A worker of one slot. It ends a job when the gate is open.

    Args:
        asks: for its lease before it writes, which waits for Redis; else it goes on to its
            acknowledgement, which has to wait.
    """

    def __init__(self, queues: LeasedQueues, gate: threading.Event, *, asks: bool) -> None:
        self.leases = Leases(queues, 1, lambda: {"queues": QUEUES})
        self.leases.start()
        self._gate, self._asks = gate, asks
        self.taken: list[tuple[str, History]] = []
        self.written: Counter[str] = Counter()

    def take(self) -> None:
        delivery = self.leases.receive(QUEUES, 0.2)
        if delivery is None:
            return
        job = decode(CaptionJob, first_argument(b"0\n\n" + delivery.message))
        self.taken.append((job.video.key, delivery.history))
        self._gate.wait()
        try:
            if self._asks:
                self.leases.of(delivery.lease).check()
            self.written[job.video.key] += 1
            if job.backlog:
                self.leases.note(job.backlog, "done")
        except LeaseLost:
            pass
        self.leases.finished(delivery.lease)


class Traffic:
    def __init__(self, world: World, events: str, lines: int) -> None:
        self.world, self._events = world, events
        self.gate = threading.Event()
        self._ahead = WAITING
        self._stopping = threading.Event()
        self._keys = [video.key for video in fill(world, "traffic", lines)]
        source = f"s3://{world.videos}/traffic/"
        made = scan.create(world.store, world.settings, "traffic", source, world.recipe, "t4")
        scan.scan(world.store, world.settings, world.queues, made)
        self.listener: Listener = listener(self._own(), events)
        feeding = self._own()
        marks = HighWaterMarks(feeding.queues, lambda: 0.0)
        self.feeder = Feeder(
            lambda: ["traffic"],
            partial(fed_of, feeding.queues),
            lambda name: Feed(Backlog(world.store, world.settings, name), feeding.queues),
            lambda queue: max(0, self._ahead - MOST + marks.room(queue)),
            lambda pause_s: self._stopping.wait(min(pause_s, PAUSE_S)),
        )
        self.heard: dict[str, list[str]] = {"listener": [], "feeder": []}
        """What went wrong, as they were told."""
        for name, one in (("listener", self.listener.health), ("feeder", self.feeder.health)):
            one.failed = self.heard[name].append  # type: ignore[method-assign]
        self.takers = [Taker(self._own().queues, self.gate, asks=asks) for asks in (True, False)]

    def _own(self) -> World:
        """The same Redis over other connections."""
        return replace(self.world)

    def upload(self, *names: str) -> None:
        """An event of each."""
        for name in names:
            tell(self._events, bucket="b", key=f"{name}.mp4", eTag="e", size=1)
            self._keys.append(f"{name}.mp4")

    @contextmanager
    def flowing(self) -> Iterator[None]:
        loops: list[Callable[[], object]] = [self.listener.run, self.feeder.run]
        loops += [partial(self._again_and_again, taker.take) for taker in self.takers]
        threads = [threading.Thread(target=one) for one in loops]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.gate.set()
            self._stopping.set()
            self.listener.stop()
            for thread in threads:
                thread.join()
            for taker in self.takers:
                taker.leases.leave()

    def _again_and_again(self, do: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            do()

    def wait_until_all_hold_one(self) -> None:
        wait_until(
            lambda: all(taker.leases.in_hand() for taker in self.takers), 10, "a job for each"
        )

    def wait_until_all_hear(self, said: str) -> None:
        """That is: listener and feeder have tried, and were refused with these words."""
        self._ahead += WAITING

        def heard() -> bool:
            return all(any(said in why for why in whys) for whys in self.heard.values())

        wait_until(heard, 10, f"{said!r}")

    def wait_until_all_is_done(self) -> None:
        def over() -> bool:
            done = sum((taker.written for taker in self.takers), Counter[str]())
            return set(done) == set(self._keys)

        wait_until(over, 20, "all jobs")
        assert all(taker.leases.flush(50) for taker in self.takers)
        wait_until(lambda: left(self._events) == 0, 10, "the end of the events")

    def check(self) -> None:
        """Nothing lost, nothing twice, nobody blamed."""
        written = sum((taker.written for taker in self.takers), Counter[str]())
        assert written == Counter(self._keys)
        taken = [one for taker in self.takers for one in taker.taken]
        assert sorted(taken, key=str) == sorted(((key, History()) for key in self._keys), key=str)
        queues = self.world.queues
        assert queues.counts() == {"in_flight": 0, "delayed": 0, "poison": 0}
        assert not any(map(queues.waiting, QUEUES))
