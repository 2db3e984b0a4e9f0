"""The time from a process's start to its first caption, by stage."""

import subprocess
import sys
import time

from infra.local.procfile import ROOT
from shared import telemetry
from shared.telemetry.metrics import registry_of
from workers.delivery.first_caption import COLD, STAGES, FirstCaption


def told() -> dict[str, float]:
    samples = [
        sample
        for one in registry_of("captioner").collect()
        if one.name == "jamak_first_caption_seconds"
        for sample in one.samples
    ]
    return {sample.labels["stage"]: sample.value for sample in samples}


def test_stages_follow_each_other_and_are_told_once() -> None:
    telemetry.FIRST_CAPTION.clear()
    now = [100.0]
    first = FirstCaption(lambda: now[0] - 98.0, lambda: now[0])
    for stage in STAGES:
        now[0] += 1.5
        first.ended(stage)
        assert (first.cold_start_s is None) == (stage in STAGES[: STAGES.index("ready")])
    assert told() == {**dict.fromkeys(STAGES, 1.5), "process": 3.5}
    assert first.cold_start_s == sum(told()[stage] for stage in COLD) == 9.5
    now[0] += 60
    for stage in STAGES:  # the second caption
        first.ended(stage)
    assert told()["record"] == 1.5


def test_an_outage_at_the_start_is_no_part_of_how_long_starts_take() -> None:
    """Or the scaler would allow for an hour of it at each start of the next fifty."""
    telemetry.FIRST_CAPTION.clear()
    now = [0.0]
    first = FirstCaption(lambda: now[0], lambda: now[0])
    for stage, took_s in {"process": 5, "servers": 3600, "weights": 50, "ready": 5}.items():
        now[0] += took_s
        first.ended(stage)  # type: ignore[arg-type]
    assert told()["servers"] == 3600
    assert first.cold_start_s == 60


def test_what_a_process_passes_over_took_no_time() -> None:
    telemetry.FIRST_CAPTION.clear()
    now = [0.0]
    first = FirstCaption(lambda: now[0], lambda: now[0])
    now[0] += 4
    first.ended("ready")  # a trainer has no model
    assert (told(), first.cold_start_s) == ({"ready": 4.0}, 4.0)


def test_a_process_knows_when_it_was_started() -> None:
    """Also of the time before its first line: an interpreter that starts takes some."""
    program = (
        "import time; time.sleep(0.3); from workers.delivery.started import seconds_since_start\n"
    )
    program += "print(seconds_since_start())"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 0.3 <= float(done.stdout) <= time.monotonic() - began + 0.05
