from workers.progress import Progress


def test_ticks_count_and_stages_are_timed() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for at, stage in [(0, "download"), (1, "download"), (2, "frames"), (5, "download")]:
        now[0] = at
        progress.tick(stage)
    now[0] = 6
    assert progress.count == 4
    assert progress.stage == "download"
    assert progress.timings_s() == {"download": 3.0, "frames": 3.0}
