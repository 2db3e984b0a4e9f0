"""Every caption once more: the engine says of each film what it says with the adapter that the
record names, and the bytes are compared.

Knows nothing of how the captions came about.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.loop_stream import Told, by
from shared.bucket.registry import Registry
from shared.cards import CLASSES
from shared.messages import Caption, Decoding
from shared.rows import MediaRef, Row
from shared.settings import Settings
from workers.caption.captioner import EngineCaptioner
from workers.jobs.decoders import decoders_of
from workers.model.adapter_files import AdapterShape, read_adapter
from workers.model.loading import LoadedModel
from workers.train.clips import Clips
from workers.train.collate import Encoder
from workers.train.engine_captions import Question, Side, captions
from workers.train.feature_files import FeatureFiles
from workers.train.judging import positions_of

ROWS = 8
"""Captions at once."""
FEATURE_BYTES = 4 << 30


def mislabelled(
    told: Sequence[Told],
    loaded: LoadedModel,
    registry: Registry,
    settings: Settings,
    folder: Path,
) -> int:
    """How many captions are not what their recorded adapter makes of their film.

    Args:
        loaded: the base model, without an adapter.
        folder: for what is fetched and made; nobody needs it afterwards.
    """
    asked: dict[str | None, dict[Path, Caption]] = defaultdict(dict)
    for sent, caption in told:
        asked[by((sent, caption))][sent.film.path] = caption
    rows = {path: _row(path, one) for some in asked.values() for path, one in some.items()}
    decoders = decoders_of(settings, os.cpu_count() or 1, folder)
    try:
        [frames] = {one.frames.requested for some in asked.values() for one in some.values()}
        files = FeatureFiles(folder / "features", FEATURE_BYTES)
        clips = Clips(list(rows.values()), folder, decoders, loaded, files, frames=frames)
        clips.prepare(lambda done, total: None)
        right = _said(asked, rows, Encoder(loaded, clips), registry, settings, folder)
    finally:
        decoders.close()
    return sum(
        right[by((sent, caption)), sent.film.path] != caption.text.encode()
        for sent, caption in told
    )


Right = dict[tuple[str | None, Path], bytes]


def _said(
    asked: dict[str | None, dict[Path, Caption]],
    rows: dict[Path, Row],
    encoder: Encoder,
    registry: Registry,
    settings: Settings,
    folder: Path,
) -> Right:
    loaded, decoding = encoder.loaded, Decoding.asked(settings)
    every = [Question((row,)) for row in rows.values()]
    positions = positions_of(every, encoder, decoding)
    captioner = EngineCaptioner(loaded, CLASSES["cpu"], rows=ROWS, positions=positions)
    found: Right = {}
    try:
        for version, films in asked.items():
            side = _side(version, loaded, registry, folder)
            questions = [Question((rows[path],)) for path in films]
            answers = captions(captioner, side, questions, encoder, decoding, lambda *_: None)
            for path, answer in zip(films, answers, strict=True):
                found[version, path] = answer.text.encode()
    finally:
        captioner.engine.close()
    return found


def _side(version: str | None, loaded: LoadedModel, registry: Registry, folder: Path) -> Side:
    if version is None:
        return Side(None, None)
    at = folder / version
    registry.download(loaded.identity.weights_sha256, version, at)
    return Side(version, read_adapter(version, at, AdapterShape.of(loaded.model)))


def _row(path: Path, caption: Caption) -> Row:
    return Row(
        id=path.stem,
        videos=(MediaRef(uri=str(path)),),
        prompt=caption.recipe.prompt,
        completion="-",  # nobody learns from it
    )
