"""The journal of what feedback has started: numbered entries, each written once.

    <output>retraining/rules.yaml            what starts a training (rules.py)
    <output>retraining/000001.json           a run: what, why, with which job
    <output>retraining/000001.sent.json      it was seen that its job was sent
    <output>retraining/sets/<sha256>.jsonl   the rows that a run learns from
    <output>retraining/used/<sha256>.txt     what its rule has learned by then (`Lesson.says`)

Whoever writes an entry has claimed the run, and nobody else can: so a run is claimed before its job
is sent. The set and the list are there before, under names of their own, and mean nothing until an
entry names them. Knows nothing of when a run is due.
"""

import hashlib
import os
import re
import socket
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from producer.feedback.rows import written
from shared.bucket.keys import retraining_folder
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.errors import Conflict
from shared.messages import Count, Message
from shared.rows import Row
from shared.settings import Settings
from shared.training import TrainJob

MOST_LEARNED = 10_000_000
"""Lessons of a rule."""
_MOST_BYTES = MOST_LEARNED * 65
"""Of their list: a digest and the end of its line each."""
ENTRY = re.compile(r"[0-9]{6,}\.json")


class Retraining(Message):
    """A run that was claimed. Its job follows from it, so sending it again is harmless."""

    v: Count = 1
    number: Count
    rule: str
    why: str
    at: datetime
    by: str
    """Host, process and a word of its own: two who claim at once never write the same."""
    job: TrainJob
    rows: Count
    new: dict[str, Count]
    """Kind of feedback -> lessons that no run of this rule had learned from."""
    left_out: dict[str, Count]
    """Why feedback was left out -> how much."""
    data_sha256: str
    used: str
    """Name of the list."""
    rules_sha256: str


class Sent(Message):
    v: Count = 1
    job_id: str
    at: datetime
    by: str


class Journal:
    """Raises what ObjectStore raises."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._store, self._bucket = store, settings.output_bucket
        self._folder = retraining_folder(settings.output_prefix)
        self._known: dict[str, Retraining] = {}
        self._used: dict[str, tuple[str, frozenset[str]]] = {}
        """Rule -> its last list, by its name: no list ever changes."""

    def entries(self) -> list[Retraining]:
        """All of them, the first one first.

        Raises:
            DamagedObject, NewerObject: one cannot be read, so nobody here can say what was done.
        """
        for info in self._store.list(self._bucket, self._folder):
            name = info.key.removeprefix(self._folder)
            if ENTRY.fullmatch(name) and name not in self._known:
                self._known[name] = read(self._store, Retraining, self._bucket, info.key)
        return sorted(self._known.values(), key=lambda one: one.number)

    def claim(self, entry: Retraining) -> bool:
        """False: somebody else has claimed this number."""
        return self._put_once(_name(entry.number), entry)

    def is_sent(self, entry: Retraining) -> bool:
        return self._store.exists(self._bucket, self._folder + _sent(entry))

    def note_sent(self, entry: Retraining, by: str) -> None:
        note = Sent(job_id=entry.job.id, at=datetime.now(UTC), by=by)
        self._put_once(_sent(entry), note)

    def keep_set(self, rows: Sequence[Row]) -> tuple[str, str]:
        """Its address, and the SHA-256 of its bytes."""
        body = written(rows)
        name = hashlib.sha256(body).hexdigest()
        key = f"{self._folder}sets/{name}.jsonl"
        self._store.put(self._bucket, key, body, content_type="application/jsonl")
        return f"s3://{self._bucket}/{key}", name

    def keep_used(self, lessons: Iterable[str]) -> str:
        """Its name.

        Args:
            lessons: at most MOST_LEARNED, or nobody could read it.
        """
        body = "".join(f"{one}\n" for one in sorted(lessons)).encode()
        name = hashlib.sha256(body).hexdigest()
        key = f"{self._folder}used/{name}.txt"
        self._store.put(self._bucket, key, body, content_type="text/plain")
        return name

    def used(self, entry: Retraining | None) -> frozenset[str]:
        """What the rule of an entry has learned by then."""
        if entry is None:
            return frozenset()
        name, used = self._used.get(entry.rule, ("", frozenset[str]()))
        if name != entry.used:
            key = f"{self._folder}used/{entry.used}.txt"
            used = frozenset(self._store.get(self._bucket, key, _MOST_BYTES).decode().split())
            self._used[entry.rule] = entry.used, used
        return used

    def _put_once(self, name: str, value: Message) -> bool:
        body = value.model_dump_json(indent=2).encode()
        key = self._folder + name
        try:
            self._store.put(
                self._bucket, key, body, content_type="application/json", if_none_match=True
            )
        except Conflict:
            return False
        return True


def who() -> str:
    """Of this process, in the entries that it writes."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def _name(number: int) -> str:
    return f"{number:06}.json"


def _sent(entry: Retraining) -> str:
    return f"{entry.number:06}.sent.json"
