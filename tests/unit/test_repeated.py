"""What goes wrong again and again is a few lines of a log."""

from typing import Any

from shared import telemetry
from shared.telemetry.repeated import EVERY_S, QUIET_S

LOOK_S = 0.2


class Log:
    """What would be written."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def warning(self, event: str, **facts: Any) -> None:
        self.lines.append((event, facts["times"]))

    info = warning


class Process:
    """One that asks five times a second."""

    def __init__(self) -> None:
        self.now, self.log = 100.0, Log()
        self.redis = telemetry.Repeated(self.log, "back", clock=lambda: self.now)  # type: ignore[arg-type]

    def fails(self, seconds: float, what: str = "away", *, works: bool = False) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.redis.failed(what)
            if works:
                self.redis.worked()
            self.now += LOOK_S

    def works(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.redis.worked()
            self.now += LOOK_S


def test_an_outage_is_told_when_it_begins_each_ten_seconds_and_when_it_is_over() -> None:
    one = Process()
    one.works(5)
    one.fails(2.5 * EVERY_S)
    one.works(30)
    assert one.log.lines == [("away", 1), ("away", 51), ("away", 101), ("back", 125)]


def test_what_works_beside_what_fails_is_no_end_of_it() -> None:
    one = Process()
    one.fails(EVERY_S, works=True)
    assert one.log.lines == [("away", 1)]


def test_another_trouble_is_told_at_once() -> None:
    one = Process()
    one.fails(1)
    one.fails(1, "full")
    assert [what for what, _ in one.log.lines] == ["away", "full"]


def test_outages_that_come_and_go_fill_no_log_either() -> None:
    one = Process()
    for _ in range(10):
        one.fails(LOOK_S)
        one.works(2 * QUIET_S)
    assert [what for what, _ in one.log.lines] == ["away", "back", "away", "back"]
    one.works(EVERY_S)
    one.fails(LOOK_S)
    assert one.log.lines[-1] == ("away", 1)
