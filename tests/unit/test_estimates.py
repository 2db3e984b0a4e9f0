import pytest

from producer.backlog.estimate import estimates
from producer.jobs.served import Needs, able
from producer.verbs.console import duration, size
from shared.broker.leased_queues import WorkerSeen
from shared.errors import ConfigError
from shared.prices import prices
from shared.settings import Settings, load_settings
from workers.delivery.rate import WINDOW_S, BusyRate


def worker(name: str, card: str, rate: float | None, queue: str = "q") -> WorkerSeen:
    return WorkerSeen(name, 0.1, {"card": card, "queues": [queue], "jobs_per_busy_s": rate})


def test_only_what_was_measured_is_estimated() -> None:
    seen = [
        worker("a", "l4", 2.0),
        worker("b", "l4", 4.0),
        worker("c", "l4", None),
        worker("d", "h100", None),
        worker("e", "cpu", 1.0),
        worker("f", "t4", 9.0, queue="another"),
    ]
    l4, h100, cpu = estimates(3600 * 3, able(seen, "q", Needs()), prices(Settings()))
    # Three workers that do three jobs a second each, if the third is like the others.
    assert (l4.workers, l4.jobs_per_s, l4.eta_s, l4.usd) == (3, 3.0, 1200.0, 0.8)
    assert (h100.jobs_per_s, h100.eta_s, h100.usd) == (None, None, None)
    assert (cpu.eta_s, cpu.usd) == (10800.0, None)  # nobody has a price for that
    assert estimates(5, able(seen, "nobody", Needs()), prices(Settings())) == []


def test_prices_say_of_when_and_of_whom() -> None:
    told = prices(Settings())
    assert told.date == "2025-11-30"
    assert "us-east-1" in told.source
    assert set(told.usd_per_hour) == {"t4", "l4", "a100", "h100"}
    assert told.told_of("l4").endswith(", 2025-11-30")


def test_own_prices_count_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("l4=0.35,cpu=0.04", '{"l4": 0.35, "cpu": 0.04}'):
        monkeypatch.setenv("JAMAK_USD_PER_HOUR", text)
        told = prices(load_settings())
        assert (told.usd_per_hour["l4"], told.usd_per_hour["cpu"]) == (0.35, 0.04)
        assert told.usd_per_hour["t4"] == 0.526
        assert (told.told_of("l4"), told.told_of("t4")[:3]) == ("JAMAK_USD_PER_HOUR", "AWS")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p100=1", "'p100' is no card class"),
        ("l4=0", "'0' is not more than 0"),
        ("l4=inf", "finite number"),
        ("l4=cheap", "'cheap' is not a number"),
        ("0.35", "no pair such as l4=0.35"),
        ('{"l4"', "begins like a JSON object and is none"),
    ],
)
def test_what_is_no_price_is_refused_with_the_form(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAMAK_USD_PER_HOUR", text)
    with pytest.raises(ConfigError, match=rf"JAMAK_USD_PER_HOUR: .*{said}.*write l4=0.35"):
        load_settings()


def test_idle_time_is_no_part_of_a_rate() -> None:
    now = [0.0]
    rate = BusyRate(lambda: now[0])
    assert rate.look(0, 0.0) is None
    now[0] = 10.0
    assert rate.look(20, 10.0) == 2.0
    now[0] = 400.0
    assert rate.look(20, 10.0) == 2.0  # it rested
    now[0] = 500.0
    assert rate.look(30, 20.0) == 1.5
    now[0] = WINDOW_S + 50
    assert rate.look(30, 20.0) == 1.0  # what was before the window is forgotten
    now[0] = 2 * WINDOW_S
    assert rate.look(30, 20.0) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(4, "4 s"), (65, "1 min 5 s"), (7500, "2 h 5 min"), (270_000, "3 d 3 h")],
)
def test_durations_as_people_say_them(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 << 40, "3.0 TiB"),
        (5 << 60, "5120.0 PiB"),
    ],
)
def test_sizes_as_people_say_them(size_bytes: int, told: str) -> None:
    assert size(size_bytes) == told
