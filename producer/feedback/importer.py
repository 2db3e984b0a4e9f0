"""What files say becomes feedback in the bucket: each thing once, however often it is brought."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from producer.bucket.captions import NoCaption
from producer.feedback.heard import ANSWERS_AGAIN, Heard, Word, question_of, word_of
from producer.feedback.incoming import (
    QUESTIONS,
    SAID_NOTHING,
    SCHEMA,
    Form,
    Line,
    Refused,
    lines_in,
    said_in,
)
from producer.feedback.judged import Captions
from producer.feedback.store import FeedbackStore
from shared.annotations.answers import UNSAID
from shared.annotations.files import File, LeftOut
from shared.bucket.storage import ObjectStore
from shared.errors import (
    BadData,
    BadMessage,
    JamakError,
    NoSuchBucket,
    NotForMe,
    Reject,
    UsageError,
)
from shared.feedback import Feedback
from shared.settings import Settings

AT_ONCE = 16
SOME = 500
CORRECT = "Correct it there."

Told = list[tuple[Feedback, bool]]
"""What a line says, and whether it tells when."""


@dataclass
class Imported:
    files: int = 0
    lines: int = 0
    """That say something, or were to."""
    added: dict[str, int] = field(default_factory=dict)
    """By kind."""
    already: int = 0
    """Said before."""
    taken_back: int = 0
    """Further down, by the same reviewer, where no time is told."""
    unsaid: list[LeftOut] = field(default_factory=list)
    """Nobody has said anything there."""
    refused: list[Refused] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    """Those that were answered with texts, if a question was named."""


class Importer:
    """What is wrong with one line is told of it. Raises what ObjectStore raises of the whole."""

    def __init__(
        self, store: ObjectStore, settings: Settings, form: Form, question: str | None
    ) -> None:
        self._settings, self._form, self._question = settings, form, question
        self._captions = Captions(store, settings)
        self._store = FeedbackStore(store, settings)
        self._lines: list[Line | Refused | LeftOut] = []
        self._answered: dict[Hashable, set[Word]] = {}
        """Of what says no time: what was said further down."""
        self.told = Imported()

    def read(self, file: File) -> None:
        self.told.files += 1
        for one in lines_in(self._form, file, self._question):
            if isinstance(one, LeftOut) and one.why not in UNSAID:
                one = Refused(one.place, one.why, CORRECT)
            self._lines.append(one)
            self.told.lines += not isinstance(one, LeftOut)
        if self._question is not None and self._form in QUESTIONS:
            with suppress(BadData):  # it was refused
                found = QUESTIONS[self._form](file)
                self.told.questions = sorted({*self.told.questions, *found})

    @property
    def waiting(self) -> int:
        """Lines that were read."""
        return len(self._lines)

    def add(
        self,
        *,
        dry_run: bool,
        unread: Callable[[JamakError], None],
        done: Callable[[int], None] = lambda lines: None,
    ) -> Imported:
        """All that was read and is new.

        Args:
            dry_run: only count it.
            unread: told why something that is there already cannot be read.
            done: told of so many lines more.
        """
        now = datetime.now(UTC)
        heard = Heard((item.said for item in self._store.all(unread)), now)
        # What says no time itself is said in the order of its lines. They are taken from the last
        # one back: of one person's answers the last is kept, or who says this and then that would
        # be heard again with every import of the file.
        lines = [
            (line, now + timedelta(microseconds=number)) for number, line in enumerate(self._lines)
        ][::-1]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="feedback") as pool:
            for begin in range(0, len(lines), SOME):
                some = lines[begin : begin + SOME]
                found = list(pool.map(self._said, *zip(*some, strict=True)))
                new = list(self._new(found, heard))
                if not dry_run:
                    list(pool.map(self._store.add, new))
                for kind, count in Counter(item.kind for item in new).items():
                    self.told.added[kind] = self.told.added.get(kind, 0) + count
                done(len(some))
        self.told.refused.reverse()
        self.told.unsaid.reverse()
        return self.told

    def _new(self, found: Sequence[Told | Refused | LeftOut], heard: Heard) -> Iterator[Feedback]:
        for said in found:
            if isinstance(said, Refused):
                self.told.refused.append(said)
            elif isinstance(said, LeftOut):
                self.told.unsaid.append(said)
            else:
                for item, timed in said:
                    if not timed and self._answered_later(item):
                        self.told.taken_back += 1
                    elif heard.knows(item, timed=timed):
                        self.told.already += 1
                    else:
                        heard.hear(item)
                        yield item

    def _answered_later(self, item: Feedback) -> bool:
        """By a line further down, which was looked at before."""
        later = self._answered.setdefault(question_of(item), set())
        word = word_of(item)
        found = bool(later.intersection(ANSWERS_AGAIN[word]))
        later.add(word)
        return found

    def _said(self, line: Line | Refused | LeftOut, now: datetime) -> Told | Refused | LeftOut:
        if not isinstance(line, Line):
            return line
        try:
            said = said_in(line, self._form, self._captions, now)
            return said or LeftOut(line.place, SAID_NOTHING)
        except NoSuchBucket as error:
            if error.bucket in {output.bucket for output in self._settings.all_outputs}:
                raise
            return Refused.of(line.place, error)
        except BadMessage as error:
            return Refused(line.place, str(error), SCHEMA if self._form == "jsonl" else CORRECT)
        except UnicodeEncodeError:
            return Refused(line.place, "it holds half a character, which is no text", CORRECT)
        except (Reject, NotForMe, UsageError, NoCaption) as error:
            return Refused.of(line.place, error)
