import pytest

from shared.errors import TooSlow
from workers.progress import Progress


def test_ticks_count_and_stages_are_timed() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for at, stage in [(0, "download"), (1, "download"), (2, "frames"), (5, "download")]:
        now[0] = at
        progress.tick(stage)
    now[0] = 6
    assert progress.pulse == (4,)
    assert progress.stage == "download"
    assert progress.timings_s() == {"download": 3.0, "frames": 3.0}


def test_who_waits_is_as_alive_as_what_it_waits_for() -> None:
    engine, waiting = Progress(), Progress()
    waiting.wait_for(engine)
    still = waiting.pulse
    assert waiting.pulse == still
    engine.tick("generate")
    assert waiting.pulse != still
    waiting.tick("generate")
    own = waiting.pulse
    engine.tick("generate")
    assert waiting.pulse == own


def test_what_is_looked_into_moves_for_so_long_and_no_longer() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    progress.tick("frames")
    still = progress.pulse
    with progress.alive_for(60):
        seen = set()
        for now[0] in (1, 30, 59):
            seen.add(progress.pulse)
        assert len(seen) == 3
        now[0] = 61
        assert progress.pulse == still
    now[0] = 1
    assert progress.pulse == still


def test_a_stopped_job_ends_at_its_next_tick() -> None:
    progress = Progress()
    progress.tick("download")
    progress.stop(TimeoutError("enough"))
    with pytest.raises(TimeoutError, match="enough"):
        progress.tick("download")


def test_a_job_has_to_be_done_in_time() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    progress.ends_at = 10
    progress.tick("download")
    now[0] = 11
    with pytest.raises(TooSlow, match="frames"):
        progress.tick("frames")


def test_waiting_for_others_is_no_part_of_the_deadline() -> None:
    now = [0.0]
    progress, engine = Progress(lambda: now[0]), Progress()
    progress.ends_at = 10.0
    progress.tick("frames")
    now[0] = 5.0
    progress.wait_for(engine)
    now[0] = 500.0
    progress.tick("generate")  # it has five seconds left
    now[0] = 504.0
    progress.tick("generate")
    now[0] = 506.0
    with pytest.raises(TooSlow):
        progress.tick("generate")
