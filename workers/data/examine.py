"""A training set, looked at from all sides before it is trained on. Changes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.bucket.places import content
from shared.bucket.storage import ObjectStore
from shared.errors import BadData, TooLarge
from shared.messages import Decoding
from shared.rows import Row, Stage
from shared.settings import Settings
from shared.web.addresses import Addresses
from workers.data.findings import Finding, Told, faults, row_faults
from workers.data.folder import Folder
from workers.data.lengths import (
    ClassFit,
    Length,
    Words,
    beyond_training,
    check_classes,
    classes_for,
    lengths_of,
)
from workers.data.media import Media, look_at
from workers.data.media_checks import check_media
from workers.data.reading import read_all
from workers.data.text_checks import check_held_out, check_texts, split_rows
from workers.jobs.decoders import decoders_of
from workers.jobs.fetch import Places
from workers.model.checkpoint import find_words
from workers.model.geometry import Geometry
from workers.train.manifest import MOST_BYTES
from workers.train.row_limits import foreign, too_long
from workers.train.sayable import unsayable
from workers.video.shape import Shape

FILES_EACH = 8
"""At least, of a decoder: to start one takes as long as some files."""
MOST_DECODERS = 32
"""At once; with files in S3 most of the time goes into waiting."""


@dataclass(frozen=True)
class Examined:
    manifest: str
    stage: Stage
    rows: list[Row]
    """Those that can be read; with their splits where these can be told."""
    findings: list[Finding]
    most: int
    """Tokens of the longest caption."""
    lengths: dict[str, Length]
    """By the row's id."""
    classes: list[ClassFit]
    media: Media | None = None
    """None: they were not looked at."""

    @property
    def errors(self) -> int:
        return sum(one.level == "error" for one in self.findings)


@dataclass
class Examination:
    """Args:
    frames: of each medium, at most, as the job will have it.
    """

    settings: Settings
    frames: int
    with_media: bool = True
    on_step: Callable[[str], None] = lambda told: None
    _findings: list[Finding] = field(default_factory=list)

    def of(self, manifest: str, stage: Stage | None) -> Examined:
        """Raises:
        UsageError, Missing, Forbidden, BadData: the manifest itself cannot be read.
        ConfigError: the tokenizer of the model cannot.
        StoreUnavailable, OutOfResources.
        """
        store = ObjectStore()
        manifest = manifest if "://" in manifest else str(Path(manifest).absolute())
        body = _body_of(manifest, store)
        reading = read_all(body, manifest, stage, self.settings.prompt)
        self._findings += faults("line", reading.faults)
        rows, unsplit = split_rows(reading.rows)
        self._findings += unsplit
        if reading.decomposed:
            self._findings.append(_decomposed(reading.decomposed))
        self._findings += check_texts(rows, reading.stage)
        self._findings += check_held_out(rows)
        words = self._words()
        decoding = Decoding.asked(self.settings)
        lengths, wrong = lengths_of(rows, words)
        self._findings += row_faults("prompt", wrong)
        self._findings += row_faults("too_long", too_long(rows, words.tokenizer, decoding))
        self._findings += row_faults("foreign", foreign(rows, decoding))
        self._findings += row_faults("unsayable", unsayable(words.tokenizer, rows))
        media = self._look_at(rows, Folder(manifest, _places(store), self.settings), words)
        if media:
            self._findings += check_media(rows, media)
        frames = media.frames if media else {}
        over = beyond_training(rows, lengths, frames, self.frames, words)
        self._findings += row_faults("context", over)
        classes = classes_for(lengths, words, decoding) if lengths else []
        self._findings += check_classes(classes)
        self._findings.sort(key=lambda one: one.level)  # errors first
        most = words.most(decoding)
        return Examined(
            manifest, reading.stage, rows, self._findings, most, lengths, classes, media
        )

    def _words(self) -> Words:
        from workers.model.tokens import read_tokenizer  # transformers, which takes seconds

        self.on_step("the tokenizer")
        where = self.settings.model, self.settings.model_revision, self.settings.model_path
        directory = find_words(*where)
        return Words(read_tokenizer(directory), Geometry.read(directory))

    def _look_at(self, rows: Sequence[Row], folder: Folder, words: Words) -> Media | None:
        if not self.with_media or not rows:
            return None
        files = len({row.media.uri for row in rows})
        size = min(MOST_DECODERS, -(-files // FILES_EACH))
        decoders = decoders_of(self.settings, size, self.settings.scratch_dir)
        side = words.geometry.image_size
        try:
            return look_at(
                rows,
                folder.find,
                decoders,
                frames=self.frames,
                shape=Shape(side, side),
                on_look=lambda done, total: self.on_step(f"media: {done} of {total}"),
            )
        finally:
            decoders.close()


def _decomposed(ids: Sequence[str]) -> Finding:
    return Finding(
        "decomposed",
        "warning",
        f"rows whose text was in decomposed form (NFD): {len(ids)}; it is trained on in the "
        "composed one (NFC)",
        cure="Nothing to do; other programs may take the two forms for two texts.",
        told=tuple(map(Told, ids)),
    )


def _places(store: ObjectStore) -> Places:
    return Places(store, Addresses(()))


def _body_of(manifest: str, store: ObjectStore) -> bytes:
    try:
        return content(manifest, store, MOST_BYTES)
    except TooLarge as error:
        raise BadData(
            f"{error}, as a training manifest",
            cure="Train on a part of it, and go on from that adapter with the next part.",
        ) from error
