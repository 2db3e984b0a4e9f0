"""A process that stands still ends, so that it is started again."""

import threading

import pytest

from producer.uploads.listen import listen_until_stopped
from producer.verbs import bulk
from shared import watchdog
from shared.settings import Settings
from shared.telemetry.health import STILL_S, LoopHealth
from shared.watchdog import EX_SOFTWARE, watch


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_S", 0.01)


def test_a_loop_that_stands_still_ends_its_process() -> None:
    now = [0.0]
    health = LoopHealth(lambda: now[0])
    codes: list[int] = []
    ended = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()
        threading.Event().wait()  # as a process does that has ended

    watch(health.live, end)
    health.moved()
    now[0] = STILL_S
    assert not ended.wait(0.1)
    now[0] = STILL_S + 1
    assert ended.wait(30)
    assert codes == [EX_SOFTWARE]


def test_a_process_that_was_stopped_for_a_while_gets_another_turn() -> None:
    looks: list[str] = []
    enough = threading.Event()

    def look() -> str | None:
        looks.append("")
        if len(looks) == 5:
            enough.set()
            threading.Event().wait()
        return "stands still" if len(looks) % 2 else None  # each time it has moved since

    codes: list[int] = []
    watch(look, codes.append)
    assert enough.wait(30)
    assert not codes


class Started(Exception):
    pass


@pytest.mark.parametrize("module", ["producer.uploads.listen", "producer.verbs.bulk"])
def test_listener_and_feeder_are_watched_from_their_start(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = []

    def started(*_: object) -> None:
        raise Started

    monkeypatch.setattr(f"{module}.watch", watched.append)
    monkeypatch.setattr(f"{module}.wait_for", started)
    monkeypatch.setattr(f"{module}.end_on_signal", lambda stop: lambda: False)
    monkeypatch.setattr(f"{module}.serve", lambda *_: None)
    settings = Settings(events_queue_url="http://127.0.0.1:1/queue", model="tests/tiny")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with pytest.raises(Started):
        if module == "producer.verbs.bulk":
            bulk._feed(settings, None, bulk.leased_queues(settings, "x:"))  # type: ignore[arg-type]
        else:
            listen_until_stopped(settings, None, None)  # type: ignore[arg-type]
    (look,) = watched
    assert look() is None  # it starts
