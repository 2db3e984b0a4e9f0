"""Earlier data for a training: the sets that it is not to forget, each to the same share. Rows are
chosen first, and their videos fetched then.

Never what is held out, then or now, under whichever name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import BadData, NoSuchBucket, Reject
from shared.rows import COLUMNS, Row, Stage
from shared.training import Replayed, TrainJob
from workers.progress import Progress
from workers.train.data import first_rows, keep_rows, kept_rows, read_manifest, with_splits
from workers.train.downloads import DOWNLOADS, absolute, check_content, digest_of
from workers.train.lineage import EarlierSet
from workers.train.manifest import MOST_BYTES, raw_rows
from workers.train.mix import drawn, taught

LOST = (Reject, NoSuchBucket)
"""What may have become of earlier data that nobody thinks of any more."""


class Replay(NamedTuple):
    replayed: tuple[Replayed, ...] = ()
    notes: tuple[str, ...] = ()


class Chosen(NamedTuple):
    """Before any of their videos is fetched."""

    rows: Sequence[Row] = ()
    """As they were trained on then, with their videos' addresses."""
    sets: Mapping[EarlierSet, Sequence[Row]] = {}
    """Those that could be read, each with rows of which some are among these."""
    digests: Mapping[EarlierSet, str] = {}
    notes: tuple[str, ...] = ()


def choose_replay(
    job: TrainJob,
    earlier: Sequence[EarlierSet],
    rows: Sequence[Row],
    store: ObjectStore,
    progress: Progress,
) -> Chosen:
    """Args:
    earlier: the sets that it replays (lineage.py).
    rows: of the job itself, with their splits.

    Raises:
        BadData, Missing, Forbidden: the manifest that the job itself names.
    """
    if not job.replay_share:
        return Chosen()
    progress.tick("replay")
    others = [one for one in earlier if job.replay is not None or one.data != job.data]
    if not others:
        return Chosen(notes=(note_same(),))
    held_out, new = _names(rows, job.data), sum(row.split == "train" for row in rows)
    sets: dict[EarlierSet, list[Row]] = {}
    digests, notes = {}, []
    for one in others:
        progress.tick("replay")
        try:
            body = store.get(*parse_uri(one.data), MOST_BYTES)
            sets[one] = drawn([_usable(one, body, job, held_out)], job, new)
            digests[one] = hashlib.sha256(body).hexdigest()
        except LOST as error:
            if job.replay is not None:
                raise
            notes.append(note_unread(one.data, error))
    return Chosen(drawn(list(sets.values()), job, new), sets, digests, tuple(notes))


def fetch_replay(
    chosen: Chosen, store: ObjectStore, workdir: Path, progress: Progress, most: int
) -> Replay:
    """The rows into WORKDIR/replay.jsonl and WORKDIR/replay/; what they are, and notes.

    Args:
        workdir: with the job's own rows and videos.
        most: bytes that a video may have.
    """
    if not chosen.rows:
        return Replay(notes=chosen.notes)
    progress.tick("replay")
    found = _download(chosen.rows, store, workdir, progress, most)
    keep_rows(workdir / "replay.jsonl", found)
    replayed, notes = [], list(chosen.notes)
    for one, its in chosen.sets.items():
        ids = {row.id for row in its}
        asked, there = (sum(row.id in ids for row in some) for some in (chosen.rows, found))
        replayed.append(Replayed(data=one.data, data_sha256=chosen.digests[one], rows=there))
        if there < asked:
            notes.append(note_left_out(asked - there, asked, one.data))
    return Replay(tuple(replayed), tuple(notes))


def _usable(one: EarlierSet, body: bytes, job: TrainJob, held_out: set[str | None]) -> list[Row]:
    """Raises BadData: there are none."""
    usable = [
        row
        for row in _read(body, one.data, one.prompt)
        if row.split == "train"
        and not held_out & {row.media.uri, row.media.sha256}
        and taught(row, job) is not None
    ]
    if not usable:
        raise BadData(
            f"the earlier data {one.data} hold nothing that this job may train on",
            cure="Name other earlier data, or set the share to 0.",
        )
    return usable


def note_same() -> str:
    return "nothing is replayed: the data are those of the adapter before"


def note_unread(source: str, error: Exception) -> str:
    return f"nothing is replayed of {source}, which an adapter before was trained on: {error}"


def note_left_out(left_out: int, wanted: int, source: str) -> str:
    return (
        f"{left_out} of {wanted} rows of the earlier data {source} are not replayed: their videos "
        "cannot be fetched, or are held out now"
    )


def _read(body: bytes, source: str, prompt: str) -> list[Row]:
    """With their splits, as they were then, and absolute addresses."""
    # The split depends on the videos' names, so it comes before they are changed.
    earlier = read_manifest(body, source, stage_of(body, source), prompt)
    rows = with_splits(earlier, of_thumbs=False)
    return [
        row.with_media(uri=absolute(source, row.media.uri)).model_copy(
            update={"id": f"{source}#{row.id}"}
        )
        for row in rows
    ]


def stage_of(body: bytes, source: str) -> Stage:
    """By the columns of the first row. What is wrong with it is told when it is read."""
    _, first = next(raw_rows(body, source), (None, None))
    row = first if isinstance(first, dict) else {}
    there = {name for name, value in row.items() if value is not None}
    stages: tuple[Stage, ...] = ("kto", "dpo")
    return next((stage for stage in stages if there >= set(COLUMNS[stage])), "sft")


def _names(rows: Sequence[Row], data: str) -> set[str | None]:
    """Of what is held out now."""
    held_out = [row.media for row in rows if row.split == "eval"]
    return {
        *(absolute(data, media.uri) for media in held_out),
        *(media.sha256 for media in held_out if media.sha256),
    }


def _download(
    rows: Sequence[Row], store: ObjectStore, workdir: Path, progress: Progress, most: int
) -> list[Row]:
    """Those whose videos are still there, as files; and are none that is held out."""
    (workdir / "replay").mkdir()
    firsts = first_rows(rows)
    local = {uri: f"replay/{number:06}{Path(uri).suffix}" for number, uri in enumerate(firsts)}
    held_out = _digests(workdir)

    def fetch(row: Row) -> bool:
        path = workdir / local[row.media.uri]
        try:
            store.download(*parse_uri(row.media.uri), path, most, lambda: progress.tick("replay"))
            check_content(row, path)
        except LOST:
            return False
        return digest_of(path) not in held_out

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        there = dict(zip(firsts, pool.map(fetch, firsts.values()), strict=True))
    return [row.with_media(uri=local[row.media.uri]) for row in rows if there[row.media.uri]]


def _digests(workdir: Path) -> set[str]:
    """Of the files that are held out now."""
    rows = kept_rows(workdir / "manifest.jsonl")
    return {digest_of(workdir / row.media.uri) for row in rows if row.split == "eval"}
