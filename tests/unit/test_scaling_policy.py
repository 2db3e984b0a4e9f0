"""How many replicas are wanted: the properties of the sum, whatever there is to do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.scaling.policy import Demand, Due, figure, kept, wanted
from shared.language import in_korean

AMOUNTS = st.floats(0, 1e9) | st.just(0.0)
SECONDS = st.floats(0, 1e6)
DUE = st.builds(Due, AMOUNTS, st.floats(-1e6, 1e6))
DEMANDS = st.builds(
    Demand,
    waiting=AMOUNTS,
    in_flight=AMOUNTS,
    arrival_per_s=AMOUNTS,
    oldest_s=SECONDS,
    rate=st.floats(1e-6, 1e4),
    cold_start_s=SECONDS,
    running=st.integers(0, 10_000),
    due=st.lists(DUE, max_size=3).map(tuple),
)
SLO = st.floats(1, 1e5)
MOST = st.integers(1, 1000)

IDLE = Demand(0, 0, 0, 0, rate=3, cold_start_s=360)


def replicas(demand: Demand, slo_s: float = 900, most: int = 1000, least: int = 0) -> int:
    return wanted(demand, slo_s=slo_s, most=most, least=least).replicas


@given(DEMANDS, SLO, MOST, st.sampled_from(["waiting", "in_flight", "arrival_per_s", "oldest_s"]))
def test_more_to_do_never_wants_fewer(demand: Demand, slo_s: float, most: int, what: str) -> None:
    more = replace(demand, **{what: getattr(demand, what) * 2 + 1})
    assert replicas(more, slo_s, most) >= replicas(demand, slo_s, most)


@given(DEMANDS, SLO, MOST, DUE, st.floats(0, 1e6))
def test_more_or_sooner_due_never_wants_fewer(
    demand: Demand, slo_s: float, most: int, due: Due, sooner_s: float
) -> None:
    without = replicas(demand, slo_s, most)
    later = replicas(replace(demand, due=(*demand.due, due)), slo_s, most)
    due = replace(due, left_s=due.left_s - sooner_s)
    sooner = replicas(replace(demand, due=(*demand.due, due)), slo_s, most)
    assert without <= later <= sooner


@given(DEMANDS, SLO, MOST)
def test_none_are_wanted_only_where_there_is_nothing_to_do(
    demand: Demand, slo_s: float, most: int
) -> None:
    assert (replicas(demand, slo_s, most) == 0) == demand.is_nothing


@pytest.mark.parametrize("what", ["waiting", "in_flight", "arrival_per_s"])
def test_the_smallest_amount_of_work_wants_one(what: str) -> None:
    assert replicas(replace(IDLE, rate=1e300, **{what: 5e-324})) == 1
    assert replicas(replace(IDLE, rate=1e300, due=(Due(5e-324, 1e300),))) == 1
    assert replicas(IDLE) == 0


@given(DEMANDS, SLO, MOST, st.data())
def test_it_is_bounded(demand: Demand, slo_s: float, most: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(0, most))
    assert least <= replicas(demand, slo_s, most, least) <= most


@given(DEMANDS, SLO, MOST, st.integers(0, 10_000))
def test_how_many_run_changes_nothing(
    demand: Demand, slo_s: float, most: int, running: int
) -> None:
    other = replace(demand, running=running)
    assert wanted(demand, slo_s=slo_s, most=most) == wanted(other, slo_s=slo_s, most=most)


@given(DEMANDS, SLO)
def test_the_lines_add_up_to_what_is_wanted(demand: Demand, slo_s: float) -> None:
    answer = wanted(demand, slo_s=slo_s, most=1000)
    values = [value for what, value, _ in answer.sums if what.startswith("for what")]
    named = {what: value for what, value, _ in answer.sums}
    assert named["together"] == pytest.approx(sum(values))
    assert named["replicas wanted"] == answer.replicas


def test_the_sum_is_the_one_of_the_page() -> None:
    demand = Demand(5400, 300, 1.5, 60, rate=3, cold_start_s=300, due=(Due(36_000, 7500),))
    answer = wanted(demand, slo_s=900, most=100)
    # 1.5 / 3 + 5700 / (3 × 600) + 36000 / (3 × 7200)
    assert [value for _, value, _ in answer.sums] == pytest.approx(
        [0.5, 600, 5700 / 1800, 36_000 / 21_600, 0.5 + 5700 / 1800 + 36_000 / 21_600, 6]
    )
    assert answer.reason == (
        "5.333 replicas: 0.5 for what arrives, 3.167 for what waits or is in flight, "
        "1.667 for what is due"
    )
    assert wanted(demand, slo_s=900, most=4).reason.endswith("; 4 at the most")
    assert wanted(demand, slo_s=900, most=9, least=7).reason.endswith("; 7 at the least")


@pytest.mark.parametrize("passed_s", [0, 60, 299, 300, 450, 600, 800])
def test_what_goes_as_planned_changes_no_plan(passed_s: float) -> None:
    """Ten replicas start for a burst, work from the end of their cold start, and are enough."""
    burst = Demand(18_000, 0, 0, 0, rate=3, cold_start_s=300)
    assert replicas(burst) == 10
    done = 10 * 3 * max(0.0, passed_s - burst.cold_start_s)
    assert replicas(replace(burst, waiting=18_000 - done, oldest_s=passed_s)) == 10


@pytest.mark.parametrize(("total", "asked"), [(0.1, 1), (1, 1), (2.25, 2), (2.26, 3), (3, 3)])
def test_for_a_quarter_of_a_replica_none_is_started(total: float, asked: int) -> None:
    assert replicas(replace(IDLE, arrival_per_s=total * IDLE.rate)) == asked


def test_what_is_late_wants_many_and_not_endlessly_many() -> None:
    late = Demand(180, 0, 0, 5000, rate=3, cold_start_s=600, due=(Due(180, -9000),))
    assert replicas(late) == 2


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_what_is_no_amount_is_refused(wrong: float) -> None:
    for what in ("waiting", "in_flight", "arrival_per_s", "oldest_s", "rate", "cold_start_s"):
        with pytest.raises(ValueError):
            replace(IDLE, **{what: wrong})
    with pytest.raises(ValueError):
        Due(wrong, 10)
    with pytest.raises(ValueError):
        Due(1, float("nan"))
    with pytest.raises(ValueError):
        replace(IDLE, rate=0)
    with pytest.raises(ValueError):
        wanted(IDLE, slo_s=900, most=1, least=2)


@given(DEMANDS, SLO, MOST)
def test_every_reason_has_its_korean(demand: Demand, slo_s: float, most: int) -> None:
    answer = wanted(demand, slo_s=slo_s, most=most)
    for text in (answer.reason, *(how for _, _, how in answer.sums)):
        assert in_korean(text), text


@given(DEMANDS)
def test_who_has_work_for_another_minute_is_kept_and_nobody_is_made(demand: Demand) -> None:
    assert 0 <= kept(demand) <= demand.running
    assert kept(replace(demand, waiting=0)) == 0


@pytest.mark.parametrize(
    ("waiting", "running", "stay"), [(0, 9, 0), (179, 9, 0), (180, 9, 1), (900, 9, 5), (9e9, 9, 9)]
)
def test_what_waits_keeps_as_many_as_it_takes_a_minute(
    waiting: float, running: int, stay: int
) -> None:
    assert kept(replace(IDLE, waiting=waiting, running=running)) == stay


def test_figures_are_read_at_a_glance() -> None:
    assert [figure(one) for one in (0, 0.000123456, 3, 1234567.0)] == [
        *("0", "0.0001235", "3", "1,235,000"),
    ]
