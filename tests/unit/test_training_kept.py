"""Logs, reports and paces of a training: bounded, and right."""

import json
import math

import pytest

from shared.training import TrainJob
from shared.training_log import HEAD_BYTES, TAIL_BYTES, BoundedLog, numbered
from shared.training_report import MOST_STEPS, Steps, TrainReport, TrainStep
from workers.jobs.training_pace import Pace


def test_a_log_keeps_its_first_and_its_last_lines_and_says_what_is_between() -> None:
    log = BoundedLog()
    for number in range(20_000):
        log.add(f"line {number} {'x' * 20}")
    text = str(log)
    assert len(text.encode()) <= HEAD_BYTES + TAIL_BYTES + 100
    lines = numbered(text)
    assert lines[0] == (0, f"line 0 {'x' * 20}")
    assert lines[-1] == (19_999, f"line 19999 {'x' * 20}")
    (mark,) = (line for _, line in lines if line.startswith("[..."))
    assert all(line.startswith(f"line {number} ") for number, line in lines if line != mark)
    again = BoundedLog(text)
    again.add("more")
    assert numbered(str(again))[-1] == (20_000, "more")
    assert str(BoundedLog(text)) == text


def test_a_line_of_a_log_is_one_line_and_obeyed_by_no_terminal() -> None:
    log = BoundedLog()
    log.add("a\nb\x1b[2J redis://user:word@host/0 " + "x" * 10_000)
    (line,) = str(log).splitlines()
    assert line.startswith(r"a b\x1b[2J redis://***@host/0 xxx")
    assert len(line) < 2_100


def test_steps_are_thinned_and_keep_their_ends() -> None:
    steps = Steps()
    for number in range(1, 10_001):
        steps.add(TrainStep(step=number))
    kept = [one.step for one in steps.kept()]
    assert len(kept) <= MOST_STEPS + 1
    assert (kept[0], kept[-1], kept[1:-1]) == (
        1,
        10_000,
        list(range(steps.every, 10_000, steps.every)),
    )
    again = Steps(steps.kept(), steps.every)
    again.add(TrainStep(step=5_001))
    assert [one.step for one in again.kept()][-2:] == [5_000, 5_001]


def test_a_pace_is_that_of_the_last_steps_and_what_is_left_has_the_captions_afterwards() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert (pace.tokens_per_s, pace.seconds_left) == (None, None)
    pace.hear({"stage": "before", "step": 0, "steps": 8})
    now[0] = 7.0
    pace.hear({"stage": "before", "step": 8, "steps": 8})
    for step in range(1, 101):
        now[0] += 10.0 if step <= 50 else 2.0
        pace.hear({"stage": "train", "step": step, "steps": 200, "tokens": 100})
    assert pace.tokens_per_s == pytest.approx(50.0)
    assert pace.seconds_left == pytest.approx(207.0)
    now[0] += 1.0
    assert pace.seconds_left == pytest.approx(206.0)


def test_who_goes_on_knows_how_long_the_captions_afterwards_take() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert pace.after_s == 0.0
    pace.goes_on(990.0)  # as an earlier try has told
    for step in range(51, 61):
        now[0] += 1.0
        pace.hear({"stage": "train", "step": step, "steps": 100, "tokens": 1})
    assert pace.seconds_left == pytest.approx(40 + 990)
    assert pace.after_s == 990.0


def test_what_is_no_number_breaks_neither_the_line_nor_the_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from types import SimpleNamespace as Namespace

    from workers.jobs.training_kept import _line, _step
    from workers.train.report import StepReporter

    reporter = StepReporter()
    state = Namespace(global_step=1, max_steps=2)
    logs = {"loss": 0.5, "grad_norm": math.inf, "learning_rate": 1e-3, "entropy": math.nan}
    reporter.on_log(Namespace(world_size=1), state, None, logs=logs)
    event = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (event["loss"], event["grad_norm"], event["lr"]) == (0.5, None, 1e-3)
    assert event["metrics"] == {}
    assert _line(event).startswith("train 1 of 2: loss 0.5000, learning rate 0.001")
    assert _step(event).grad_norm is None


def test_a_report_reads_back() -> None:
    job = TrainJob(id="j", data="s3://b/m", model="m", revision="r", prompt="<video>")
    told = {"job": job, "worker": "w", "attempt": 1, "written_at": "2026-11-30T00:00:00Z"}
    report = TrainReport.model_validate(told)
    assert TrainReport.model_validate_json(report.model_dump_json()) == report
