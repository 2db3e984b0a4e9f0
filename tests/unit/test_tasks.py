"""What becomes of each kind of error: another try, a failure record, or nothing at all.

Run by the real task in this process; the bucket's side is a small fake.
"""

from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject as RejectMessage

from shared.broker import CAPTION_TASK
from shared.errors import Forbidden, JamakError, NotAVideo, StoreUnavailable
from shared.messages import CaptionJob, Recipe, Video
from workers import tasks
from workers.tasks import MAX_ATTEMPTS, register_caption

JOB = CaptionJob(
    video=Video(bucket="b", key="k.mp4", etag="e", size_bytes=1),
    recipe=Recipe(prompt="p", model="m", revision="r"),
)


class Work:
    """Fails as it is told to, and keeps what it was asked to write."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.runs = 0
        self.failures: list[tuple[str, int]] = []

    def run(self, job: CaptionJob) -> None:
        self.runs += 1
        if self.error:
            raise self.error

    def fail(self, job: CaptionJob, error: JamakError, attempts: int) -> None:
        self.failures.append((error.reason, attempts))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(tasks, "LONGEST_BACKOFF_S", 0.0)
    return []


def run(work: Work, published: list[dict[str, Any]], payload: Any, attempt: int = 1) -> None:
    app = Celery(set_as_current=False)
    register_caption(app, lambda: work)  # type: ignore[arg-type, return-value]
    task = app.tasks[CAPTION_TASK]
    task.apply_async = lambda **kw: published.append(kw)
    task.push_request(delivery_info={"routing_key": "caption.l4.bulk"})
    try:
        task.run(payload, attempt)
    finally:
        task.pop_request()


PAYLOAD = JOB.model_dump(mode="json")


def test_done_is_done(published: list[dict[str, Any]]) -> None:
    work = Work(None)
    run(work, published, PAYLOAD)
    assert (work.runs, work.failures, published) == (1, [], [])


def test_the_inputs_fault_is_recorded_at_once(published: list[dict[str, Any]]) -> None:
    work = Work(NotAVideo("x"))
    run(work, published, PAYLOAD)
    assert (work.failures, published) == ([("not_a_video", 1)], [])


@pytest.mark.parametrize("error", [StoreUnavailable("x"), ZeroDivisionError("a fault of ours")])
def test_the_worlds_fault_is_tried_again_on_the_same_queue(
    published: list[dict[str, Any]], error: Exception
) -> None:
    work = Work(error)
    run(work, published, PAYLOAD, attempt=2)
    assert work.failures == []
    assert published == [{"args": (PAYLOAD,), "kwargs": {"attempt": 3}, "queue": "caption.l4.bulk"}]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreUnavailable("x"), "store_unavailable"), (ZeroDivisionError("x"), "internal_error")],
)
def test_the_last_try_ends_on_the_record(
    published: list[dict[str, Any]], error: Exception, reason: str
) -> None:
    work = Work(error)
    run(work, published, PAYLOAD, attempt=MAX_ATTEMPTS)
    assert (work.failures, published) == ([(reason, MAX_ATTEMPTS)], [])


def test_a_failure_that_cannot_be_written_is_tried_again(published: list[dict[str, Any]]) -> None:
    class Unwritable(Work):
        def fail(self, job: CaptionJob, error: JamakError, attempts: int) -> None:
            raise StoreUnavailable("down")

    run(Unwritable(NotAVideo("x")), published, PAYLOAD, attempt=MAX_ATTEMPTS)
    assert published[0]["kwargs"] == {"attempt": MAX_ATTEMPTS + 1}


def test_a_newer_message_goes_back_however_often(published: list[dict[str, Any]]) -> None:
    work = Work(None)
    run(work, published, PAYLOAD | {"v": 99}, attempt=MAX_ATTEMPTS + 50)
    assert (work.runs, work.failures) == (0, [])
    assert published[0]["kwargs"] == {"attempt": MAX_ATTEMPTS + 51}


def test_what_is_no_job_ends_here(published: list[dict[str, Any]]) -> None:
    work = Work(None)
    run(work, published, {"nonsense": 1})
    assert (work.runs, work.failures, published) == (0, [], [])


def test_what_cannot_even_be_filed_is_handed_back(published: list[dict[str, Any]]) -> None:
    """Celery acknowledges a failed message: without record, failure or next try it were lost."""

    class NoFile(Work):
        def fail(self, job: CaptionJob, error: JamakError, attempts: int) -> None:
            raise Forbidden("the output bucket is closed to us")

    with pytest.raises(RejectMessage) as caught:
        run(NoFile(NotAVideo("no")), published, PAYLOAD)
    assert caught.value.requeue
    assert published == []


def test_a_job_may_come_back_a_thousand_times(published: list[dict[str, Any]]) -> None:
    run(Work(None), published, {**PAYLOAD, "v": 99}, attempt=2000)
    assert published[0]["kwargs"] == {"attempt": 2001}
