"""What feedback starts: which rules are due, and their runs, each once.

A run is claimed by an entry in the journal, and its job sent afterwards; whoever finds an entry
whose job is nowhere sends it. So it makes no difference who looks, how many do, and where one of
them is killed. One run at a time: the next one goes on from what the last one made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from producer.feedback.captions import known
from producer.feedback.due import Verdict, one_sided, too_few, too_soon, why_due
from producer.feedback.journal import Journal, Retraining, who
from producer.feedback.lessons import LeftOut, Lesson, lessons_of
from producer.feedback.rows import LEARNS, rows_of
from producer.feedback.rules import Rule, Rules
from producer.feedback.store import FeedbackStore
from producer.jobs.asked import GRACE, just_asked
from producer.jobs.send_training import send_training
from producer.jobs.training import Training
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.training import TrainingRecords
from shared.errors import BrokerUnavailable, JamakError, UsageError
from shared.feedback import Kind
from shared.rows import Row
from shared.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

LOOK_AGAIN = timedelta(minutes=10)
"""At captions of which too few are there: each look asks the store for all of them."""


@dataclass
class Look:
    """What one look found, and did."""

    verdicts: list[Verdict] = field(default_factory=list)
    started: list[Retraining] = field(default_factory=list)
    sent_again: list[Retraining] = field(default_factory=list)
    """Claimed before, by somebody who did not get to send it; or Redis lost it."""
    runs: list[Retraining] = field(default_factory=list)
    """All of the journal, those of this look too."""
    unread: list[JamakError] = field(default_factory=list)


class Retrainer:
    """For one process, which may look again and again.

    Args:
        now: with a zone.
        moved: called while a look goes on, which takes long where there is much feedback.
    """

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore,
        app: "Celery",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._store, self._app = settings, store, app
        self._now, self._moved = now, moved
        self._feedback = FeedbackStore(store, settings)
        self._journal = Journal(store, settings)
        self._training = Training(settings, store, app)
        place = settings.output_bucket, settings.output_prefix
        self._records = TrainingRecords(store, *place)
        self._registry = Registry(store, *place)
        self._looked: dict[str, datetime] = {}
        """Rule -> when too few of its captions were there."""

    def look(self, rules: Rules | None, *, dry_run: bool = False) -> Look:
        """Args:
            rules: None: there are none; what was claimed is sent all the same.
            dry_run: change nothing.

        Raises:
            DamagedObject, NewerObject: an entry of the journal cannot be read.
            BrokerUnavailable, BrokerRefuses: Redis does not take what was claimed.
        """
        told = Look(runs=self._journal.entries())
        held_up = self._settle(told.runs[-1], told, dry_run) if told.runs else ""
        if rules is None:
            return told
        lessons, left_out = lessons_of(self._feedback.all(told.unread.append))
        for rule in rules.rules:
            verdict, rows, learned = self._judge(rule, told.runs, lessons, left_out, held_up)
            told.verdicts.append(verdict)
            if not verdict.due:
                continue
            held_up = _comes_first(rule.name)
            if dry_run:
                continue
            entry = self._claim(verdict, rows, learned, rules, told.runs)
            if entry is not None:
                told.runs.append(entry)
                told.started.append(entry)
                self._send(entry)
        return told

    def _judge(
        self,
        rule: Rule,
        runs: Sequence[Retraining],
        lessons: Sequence[Lesson],
        left_out: Sequence[LeftOut],
        held_up: str,
    ) -> tuple[Verdict, list[Row], frozenset[str]]:
        """With the rows of its set, and all that its runs have learned then."""
        last = next((run for run in reversed(runs) if run.rule == rule.name), None)
        ours = [one for one in lessons if one.kind in LEARNS[rule.train.stage]]
        used, now = self._journal.used(last), self._now()
        told = Verdict(rule, last, new=_new(ours, used), left_out=_counted(left_out))
        told.waits = [*too_few(rule, told.new), *too_soon(rule, last, now)]
        if held_up:
            told.waits.append(held_up)
        looked = self._looked.get(rule.name)
        if not told.waits and looked is not None and now - looked < LOOK_AGAIN:
            told.waits.append(_looked_just_now())
        if told.waits:
            return told, [], frozenset()
        there, gone = known(self._store, self._settings, ours, self._moved)
        rows, learned, unfit = rows_of(there, rule.train.stage, self._settings)
        told.rows, told.left_out = len(rows), _counted([*left_out, *gone, *unfit])
        told.new = _new([one.lesson for one in learned], used)
        told.waits = [*too_few(rule, told.new), *one_sided(rule, rows)]
        if told.waits:
            self._looked[rule.name] = now
        else:
            told.why = why_due(rule, told.new, last, now)
            self._looked.pop(rule.name, None)
        return told, rows, used | {one.lesson.says for one in learned}

    def _claim(
        self,
        verdict: Verdict,
        rows: Sequence[Row],
        learned: Iterable[str],
        rules: Rules,
        runs: Sequence[Retraining],
    ) -> Retraining | None:
        """None: somebody else was faster, and what they did is seen at the next look."""
        rule, at = verdict.rule, self._now()
        number = runs[-1].number + 1 if runs else 1
        data, data_sha256 = self._journal.keep_set(rows)
        job_id = f"{at:%Y%m%d-%H%M%S}-{rule.name}-{number}"
        entry = Retraining(
            number=number,
            rule=rule.name,
            why=verdict.why,
            at=at,
            by=who(),
            job=rule.job(self._settings, job_id, data, self._start(rule)),
            rows=len(rows),
            new=dict(verdict.new.items()),
            left_out=verdict.left_out,
            data_sha256=data_sha256,
            used=self._journal.keep_used(learned),
            rules_sha256=rules.sha256,
        )
        return entry if self._journal.claim(entry) else None

    def _start(self, rule: Rule) -> str | None:
        """The version to go on from."""
        if rule.train.start != "active":
            return None if rule.train.start == "base" else rule.train.start
        wanted = self._settings.model, self._settings.model_revision
        bases = {
            one.base.weights_sha256
            for one in self._registry.manifests()
            if (one.base.id, one.base.revision) == wanted
        }
        used = {version for base in bases if (version := self._registry.pointer(base).version)}
        if len(used) > 1:
            raise UsageError(
                f"the rule {rule.name} goes on from the adapter in use, and there are several: "
                f"{', '.join(sorted(used))}",
                cure="Name one in the rule: `from: VERSION`.",
            )
        return used.pop() if used else None

    def _settle(self, run: Retraining, told: Look, dry_run: bool) -> str:
        """Send what was claimed and is nowhere. Why no other run may begin; empty: it may."""
        try:
            job = self._training.job(run.job.id)
        except UsageError:  # the bucket knows of none
            if self._journal.is_sent(run):
                return ""  # it did, and what is old is deleted
            if not dry_run and self._now() - run.at > GRACE:
                self._send(run)
                told.sent_again.append(run)
            return _not_ended(run.number, run.job.id)
        told.unread += job.unread
        if job.state == "open":
            raise BrokerUnavailable("which training jobs Redis has cannot be seen now")
        lost = job.state == "not in Redis"
        if lost and not dry_run and not (job.asked and just_asked(job.asked.asked_at)):
            self._send(run)
            told.sent_again.append(run)
        elif not lost and not dry_run and not self._journal.is_sent(run):
            self._journal.note_sent(run, who())
        return _not_ended(run.number, run.job.id) if job.outcome is None else ""

    def _send(self, run: Retraining) -> None:
        self._records.ask(run.job)
        send_training(self._app, run.job)
        self._journal.note_sent(run, who())


def _new(lessons: Iterable[Lesson], used: frozenset[str]) -> dict[Kind, int]:
    return dict(Counter(one.kind for one in lessons if one.says not in used))


def _counted(left_out: Iterable[LeftOut]) -> dict[str, int]:
    return dict(Counter(one.why for one in left_out).most_common())


def _comes_first(rule: str) -> str:
    return f"a run of the rule {rule} comes first"


def _looked_just_now() -> str:
    return "too few of their captions were there some minutes ago"


def _not_ended(number: int, job_id: str) -> str:
    return f"run {number}, training job {job_id}, has not ended"
