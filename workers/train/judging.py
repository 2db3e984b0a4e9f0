"""An adapter is judged: captions by the engine, likelihoods by the model, and a report of both.

Knows nothing of S3, of queues, and of what becomes of the report.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path

from shared import __version__
from shared.errors import ConfigError
from shared.judged import Bad, Judged, JudgedSet
from shared.messages import Decoding
from shared.rows import Row
from workers.caption.captioner import EngineCaptioner
from workers.judge.judge import judge_set, libraries
from workers.judge.markdown import markdown
from workers.judge.measures import Measure
from workers.judge.page import page
from workers.model.loading import LoadedModel
from workers.model.syllables import longest, tokens_a_syllable
from workers.progress import Progress
from workers.train.clips import Clips
from workers.train.collate import Encoder
from workers.train.engine_captions import (
    Question,
    Side,
    Tell,
    captions,
    items_of,
    likely,
    questions_of,
)
from workers.train.feature_files import FeatureFiles
from workers.train.judged_sets import JudgedRows
from workers.train.media import sample_of
from workers.video.contact_sheet import contact_sheet
from workers.video.pool import DecoderPool
from workers.video.shape import Shape
from workers.video.source import file_source

MEASURES = "jamak.measures"
SHEET_FRAMES, SHEET_SHAPE = 8, Shape(144, None)
JPEG_QUALITY = 70


@dataclass(frozen=True)
class Report:
    judged: Judged
    html: str

    def files(self) -> Mapping[str, bytes]:
        """Name -> content."""
        return {
            "judged.json": self.judged.model_dump_json(indent=1).encode(),
            "judged.md": markdown(self.judged).encode(),
            "judged.html": self.html.encode(),
        }


def judge(
    loaded: LoadedModel,
    captioner: Callable[[int], EngineCaptioner],
    sets: Sequence[JudgedRows],
    folder: Path,
    decoders: DecoderPool,
    files: FeatureFiles,
    *,
    new: Side,
    old: Side | None,
    frames: int,
    decoding: Decoding,
    tell: Tell,
) -> Report:
    """Args:
        loaded: without an adapter; afterwards it is of no use for anything else.
        captioner: makes one of this model, for captions of so many positions.
        folder: what relative URIs are relative to.
        files: where what is seen of the clips is kept meanwhile.
        old: what it is compared with; None = nothing.
        frames: of each clip, at most.

    Raises:
        BadData: a row does not fit, or its medium cannot be read.
        BadAdapter: an adapter does not fit this model.
        LacksMemory, OutOfResources: this machine has not enough of something.
    """
    rows = [row for one in sets for row in one.rows]
    clips = Clips(rows, folder, decoders, loaded, files, frames=frames)
    clips.prepare(lambda done, total: tell("frames", done, total))
    encoder = Encoder(loaded, clips)
    encoder.check_lengths(rows)
    sides = [new] if old is None else [new, old]
    asked = [questions_of(one.rows) for one in sets]
    every = [question for some in asked for question in some]
    engine = captioner(positions_of(every, encoder, decoding))
    try:
        said = [captions(engine, side, every, encoder, decoding, tell) for side in sides]
    finally:
        engine.engine.close()
    del engine
    nats = likely(loaded, sides, every, encoder, tell)
    extra = extra_measures()
    judged_sets, at = [], 0
    for one, questions in zip(sets, asked, strict=True):
        part = slice(at, at := at + len(questions))
        of_sides = [
            items_of(questions, answers[part], some[part])
            for answers, some in zip(said, nats, strict=True)
        ]
        judged_sets.append(
            judge_set(
                one.name,
                *of_sides,
                data=one.data,
                data_sha256=one.data_sha256,
                extra=extra,
            )
        )
    found = Judged(
        adapter=new.version,
        compared=old is not None,
        against=old.version if old else None,
        model=loaded.identity,
        frames=frames,
        decoding=decoding,
        sets=tuple(judged_sets),
        libraries=libraries(),
        created_at=datetime.now(UTC),
        jamak=__version__,
    )
    sheets = _sheets(judged_sets, sets, folder, decoders, tell)
    return Report(found, page(found, sheets))


def positions_of(questions: Sequence[Question], encoder: Encoder, decoding: Decoding) -> int:
    """Of the longest caption: visual, prompt and new tokens; as far as the model reaches."""
    loaded = encoder.loaded
    prompts = (encoder.prompt(str(one.first.prompt), one.first.media.key) for one in questions)
    new = longest(decoding, tokens_a_syllable(loaded.tokenizer))
    return min(max(map(len, prompts)) + new, loaded.context)


def extra_measures() -> list[Measure]:
    """Of other packages. Raises ConfigError: one of them cannot be had."""
    made: list[Measure] = []
    for entry in entry_points(group=MEASURES):
        try:
            made.append(entry.load()())
        except Exception as error:
            raise ConfigError(
                f"the measure {entry.name!r} ({entry.value}) cannot be had: {error!r}",
                cure="Mend the package that brings it, or remove it.",
            ) from error
    return made


def _sheets(
    judged_sets: Sequence[JudgedSet],
    sets: Sequence[JudgedRows],
    folder: Path,
    decoders: DecoderPool,
    tell: Tell,
) -> dict[tuple[str, str], bytes]:
    worst = [
        (one.name, bad, row)
        for one, rows in zip(judged_sets, sets, strict=True)
        for bad, row in _rows_of(one.worst, rows.rows)
    ]
    made = {}
    for done, (name, bad, row) in enumerate(worst, start=1):
        made[name, bad.id] = _sheet(row, folder, decoders)
        tell("sheets", done, len(worst))
    return made


def _rows_of(worst: Sequence[Bad], rows: Sequence[Row]) -> list[tuple[Bad, Row]]:
    by_id = {row.id: row for row in rows}
    return [(bad, by_id[bad.id]) for bad in worst]


def _sheet(row: Row, folder: Path, decoders: DecoderPool) -> bytes:
    """A JPEG."""
    source = file_source(folder / row.media.uri, still=bool(row.images))
    with decoders.open(source, Progress(), SHEET_FRAMES) as video:
        sample = sample_of(row, video, SHEET_FRAMES, SHEET_SHAPE)
        sheet = contact_sheet(row.id, video.info, sample)
    with io.BytesIO() as file:
        sheet.save(file, "JPEG", quality=JPEG_QUALITY)
        return file.getvalue()
