"""What feedback starts: which rules are due, and their runs, each once.

A run is claimed by an entry in the journal, and its job sent afterwards; whoever finds an entry
whose job is nowhere sends it. So it makes no difference who looks, how many do, and where one of
them is killed. One run at a time: the next one goes on from what the last one made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from producer.feedback.captions import JudgedCaptions, Known, Text
from producer.feedback.due import Verdict, one_sided, too_few, too_soon, why_due
from producer.feedback.journal import MOST_LEARNED, Journal, Retraining, who
from producer.feedback.lessons import LeftOut, Lesson, addresses_of, all_said, lessons_of
from producer.feedback.rows import rows_of, teaches
from producer.feedback.rules import Rule, Rules
from producer.feedback.start import OnTrial, start_of
from producer.feedback.store import FeedbackStore, Item
from producer.jobs.asked import GRACE, just_asked
from producer.jobs.send_training import send_training
from producer.jobs.training import Training
from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.training import TrainingRecords
from shared.errors import BrokerUnavailable, JamakError, NotForMe, Reject, UsageError
from shared.feedback import Kind
from shared.rows import Row, Stage
from shared.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

LOOK_AGAIN = timedelta(minutes=10)
"""At captions of which too few are there: each look asks the store for all of them."""
SAME_AGAIN = timedelta(days=1)
"""If nobody has said anything since, and none could not be read."""


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


@dataclass(frozen=True)
class Said:
    """What people have said, as far as it counts."""

    lessons: list[Lesson]
    """Of what the majority agrees on."""
    texts: dict[str, Text]
    """Item -> its caption; empty where nobody has looked at them."""
    left_out: list[LeftOut]
    addresses: dict[tuple[str, int], str] = field(default_factory=dict)
    """Of their videos."""


@dataclass(frozen=True)
class _Run:
    """That may begin."""

    rows: Sequence[Row] = ()
    learned: frozenset[str] = frozenset()
    """By this rule's runs, this one too."""
    start: str | None = None
    """The version to go on from."""


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
        self._now = now
        self._feedback = FeedbackStore(store, settings, moved)
        self._captions = JudgedCaptions(store, settings, now, moved)
        self._journal = Journal(store, settings)
        self._training = Training(settings, store, app)
        place = settings.output_bucket, settings.output_prefix
        self._records = TrainingRecords(store, *place)
        self._registry = Registry(store, *place)
        self._looked: dict[str, tuple[datetime, frozenset[str]]] = {}
        """Digest of a rule -> when too few of its captions were there, and the items whose captions
        were."""

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
        items = self._feedback.all(told.unread.append)
        may, never = self._captions.may_count(items)
        lessons, disputed = lessons_of(may)
        guess = Said(lessons, {}, [*disputed, *never])
        asked = cache(lambda: self._ask(may, never))
        for rule in rules.rules:
            verdict, run = self._judge(rule, told.runs, may, guess, asked, held_up)
            told.verdicts.append(verdict)
            if not verdict.due:
                continue
            held_up = _comes_first(rule.name)
            if dry_run:
                continue
            entry = self._claim(verdict, run, rules, told.runs)
            if entry is not None:
                told.runs.append(entry)
                told.started.append(entry)
                self._send(entry)
        return told

    def _ask(self, may: Sequence[Item], never: Sequence[LeftOut]) -> Said:
        texts, gone = self._captions.texts(may)
        there = [item for item in may if item.id in texts]
        lessons, disputed = lessons_of(there)
        return Said(lessons, texts, [*disputed, *never, *gone], addresses_of(there))

    def _judge(
        self,
        rule: Rule,
        runs: Sequence[Retraining],
        may: Sequence[Item],
        guess: Said,
        asked: Callable[[], Said],
        held_up: str,
    ) -> tuple[Verdict, _Run]:
        """Args:
        guess: where no caption was looked at.
        asked: looks at them all.
        """
        last = next((run for run in reversed(runs) if run.rule == rule.name), None)
        stage, used, now = rule.train.stage, self._journal.used(last), self._now()
        new = _new(_taught(guess.lessons, stage), used)
        told = Verdict(rule, last, new=new, left_out=_counted(guess.left_out))
        looked = self._has_looked(rule, may)
        # What is gone may be the only voice against what is there.
        if looked or too_few(rule, _new(_taught(all_said(may), stage), used)):
            told.waits += too_few(rule, new)
        told.waits += too_soon(rule, last, now)
        if held_up:
            told.waits.append(held_up)
        if not told.waits and looked:
            told.waits.append(_looked_just_now())
        if told.waits:
            return told, _Run()
        try:
            start = start_of(rule, self._settings, self._registry)
        except OnTrial as error:
            told.waits.append(_on_trial(error))
            return told, _Run()
        except (Reject, NotForMe, UsageError) as error:
            told.waits.append(_unknown_start(error))
            return told, _Run()
        found = asked()
        known = [
            Known(one, found.texts[one.id].text, found.texts[one.id].prompt)
            for one in found.lessons
        ]
        made = rows_of(known, stage, self._settings, found.addresses)
        # What is passed over is not new any more, either: it was weighed against what is newer.
        learned = used | {one.lesson.says for one in (*made.taught, *made.passed_over)}
        full = "one set takes no more, and what is newer counts"
        no_room = [LeftOut(one.lesson.id, full) for one in made.passed_over]
        told.rows = len(made.rows)
        told.left_out = _counted([*found.left_out, *made.left_out, *no_room])
        told.new = _new([one.lesson for one in made.taught], used)
        told.waits = [*too_few(rule, told.new), *one_sided(rule, made.rows)]
        if len(learned) > MOST_LEARNED:
            told.waits.append(_learned_too_much(f"{MOST_LEARNED:,}"))
        if told.waits:
            self._looked[rule.sha256] = now, frozenset(found.texts)
        else:
            told.why = why_due(rule, told.new, last, now)
            self._looked.pop(rule.sha256, None)
        return told, _Run(made.rows, learned, start)

    def _has_looked(self, rule: Rule, may: Sequence[Item]) -> bool:
        """In vain, and not long ago."""
        if rule.sha256 not in self._looked:
            return False
        at, before = self._looked[rule.sha256]
        same = all(item.id in before for item in may)
        return self._now() - at < (SAME_AGAIN if same else LOOK_AGAIN)

    def _claim(
        self,
        verdict: Verdict,
        run: _Run,
        rules: Rules,
        runs: Sequence[Retraining],
    ) -> Retraining | None:
        """None: somebody else was faster, and what they did is seen at the next look."""
        rule, at = verdict.rule, self._now()
        number = runs[-1].number + 1 if runs else 1
        data, data_sha256 = self._journal.keep_set(run.rows)
        job_id = f"{at:%Y%m%d-%H%M%S}-{rule.name}-{number}"
        entry = Retraining(
            number=number,
            rule=rule.name,
            why=verdict.why,
            at=at,
            by=who(),
            job=rule.job(self._settings, job_id, data, run.start),
            rows=len(run.rows),
            new=dict(verdict.new.items()),
            left_out=verdict.left_out,
            data_sha256=data_sha256,
            used=self._journal.keep_used(run.learned),
            rules_sha256=rules.sha256,
        )
        return entry if self._journal.claim(entry) else None

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
        over = job.outcome is not None or job.state == "cancelling"  # nothing comes of that
        return "" if over else _not_ended(run.number, run.job.id)

    def _send(self, run: Retraining) -> None:
        self._records.ask(run.job)
        send_training(self._app, run.job)
        self._journal.note_sent(run, who())


def _new(lessons: Iterable[Lesson], used: frozenset[str]) -> dict[Kind, int]:
    return dict(Counter(one.kind for one in lessons if one.says not in used))


def _taught(lessons: Iterable[Lesson], stage: Stage) -> list[Lesson]:
    return [one for one in lessons if teaches(one.item.said, stage)]


def _counted(left_out: Iterable[LeftOut]) -> dict[str, int]:
    return dict(Counter(one.why for one in left_out).most_common())


def _comes_first(rule: str) -> str:
    return f"a run of the rule {rule} comes first"


def _looked_just_now() -> str:
    return "too few of their captions were there when they were last looked at"


def _unknown_start(error: JamakError) -> str:
    return f"which adapter it would go on from is not certain: {error} ({error.cure})"


def _on_trial(error: JamakError) -> str:
    return f"{error} ({error.cure})"


def _learned_too_much(most: str) -> str:
    return f"its runs have learned {most} lessons, and no more are kept: give the rule another name"


def _not_ended(number: int, job_id: str) -> str:
    return f"run {number}, training job {job_id}, has not ended"
