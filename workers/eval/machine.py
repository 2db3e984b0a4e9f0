"""The model of the settings on this machine's card, as a captioner has it; and adapters for it."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from shared.bucket.registry import Registry
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import UNREADABLE
from shared.cards import choose_card, detect_gpu
from shared.errors import Missing, UsageError
from shared.messages import Decoding
from shared.rows import MediaRef, Row
from shared.settings import Settings
from shared.training import AdapterManifest
from workers.caption.captioner import EngineCaptioner
from workers.caption.fitting import checkpoint_that_fits
from workers.eval.table import Answered, TableRow
from workers.jobs.decoders import decoders_of
from workers.judge.suites import Asked, Suite
from workers.model.adapter_files import AdapterShape, read_adapter
from workers.model.loading import load_model
from workers.model.selfcheck import check_model
from workers.train.clips import Clips
from workers.train.collate import Encoder
from workers.train.engine_captions import Question, Side, Tell, captions
from workers.train.feature_files import FeatureFiles
from workers.train.judged_sets import JudgedRows, fetch_set
from workers.train.judging import Report, judge, positions_of

FEATURE_BYTES = 64 << 30
"""Of disk, as long as it runs; what does not fit is decoded once more."""


ANSWER = Decoding(max_new_tokens=32)
"""Short, and in the language of the question."""
INSTRUCTION = "Answer the question using a single word or phrase."
"""As LLaVA is taught to answer shortly (Liu 2024, arXiv 2310.03744, section 3.2)."""


class Machine:
    """Args:
    folder: for what is fetched and made; nobody needs it afterwards.
    tell: how far it is.
    """

    def __init__(self, settings: Settings, registry: Registry, folder: Path, tell: Tell) -> None:
        self._settings, self._registry = settings, registry
        self._folder, self._tell = folder, tell
        choice = choose_card(settings, detect_gpu())
        found = checkpoint_that_fits(settings, choice)
        self._plan = found.plan
        self._choice = replace(choice, dtype=found.plan.machine.dtype)
        self._loaded = load_model(
            found.directory,
            model_id=settings.model,
            revision=settings.model_revision,
            device=choice.device,
            dtype=self._choice.dtype,
            quantized=choice.quantized,
            pool_stride=found.plan.pool_stride,
            tokenizer=found.tokenizer,
        )
        check_model(self._loaded)
        self._shape = AdapterShape.of(self._loaded.model)

    def in_use(self, than: AdapterManifest | None) -> AdapterManifest | None:
        """Which adapter is, if it is another one; else the base model: None."""
        base = self._loaded.identity.weights_sha256
        version = self._registry.pointer(base).version
        if version is None or (than is not None and version == than.version):
            return None
        return self._registry.manifest(base, version)

    def judge(
        self,
        new: AdapterManifest | None,
        old: AdapterManifest | None,
        sets: Mapping[str, str],
        frames: int | None,
        *,
        compared: bool,
    ) -> Report:
        """Args:
            sets: name -> manifest.
            frames: of each video; None = as the card allows.

        Raises:
            UsageError: an adapter is of another base model, or a manifest is not there.
            BadData, BadAdapter, OutOfResources, LacksMemory.
        """
        settings = self._settings
        sides = self._side(new), self._side(old)
        trained_on = {one for side in (new, old) if side is not None for one in self._learned(side)}
        rows = [self._fetched(name, data, trained_on) for name, data in sets.items()]
        decoders = decoders_of(settings, os.cpu_count() or 1, self._folder)
        try:
            return judge(
                self._loaded,
                self._captioner,
                rows,
                self._folder,
                decoders,
                FeatureFiles(self._folder / "features", FEATURE_BYTES),
                new=sides[0],
                old=sides[1] if compared else None,
                frames=frames or self._plan.frames.value,
                decoding=Decoding.asked(settings),
                tell=self._tell,
            )
        finally:
            decoders.close()

    def answer(
        self,
        models: Sequence[AdapterManifest | None],
        suites: Sequence[Suite],
        most: int | None,
        frames: int | None,
    ) -> list[TableRow]:
        """Of each model a row, without questions about videos that cannot be read. Arguments are
        those of `jamak qa`; errors those of `judge`.

        Raises:
            BadData: no video of a set can be read.
        """
        asked = [(suite.name, one) for suite in suites for one in suite.there[:most]]
        paths = {suite.name: suite.videos for suite in suites}
        rows = [_row(f"{name}#{n}", one, paths[name]) for n, (name, one) in enumerate(asked)]
        sides = [self._side(one) for one in models]
        decoders = decoders_of(self._settings, os.cpu_count() or 1, self._folder)
        files = FeatureFiles(self._folder / "features", FEATURE_BYTES)
        most_frames = frames or self._plan.frames.value
        try:
            clips = Clips(rows, self._folder, decoders, self._loaded, files, frames=most_frames)
            keys = {row.media.key for row in rows}
            unreadable = clips.prepare(lambda done, n: self._tell("frames", done, n), spare=keys)
            left_out = Counter(
                name
                for (name, _), row in zip(asked, rows, strict=True)
                if row.media.key in unreadable
            )
            there = [
                (one, row)
                for one, row in zip(asked, rows, strict=True)
                if row.media.key not in unreadable
            ]
            for suite in suites:
                if suite.name not in {name for (name, _), _ in there}:
                    raise next(iter(unreadable.values()))
            encoder = Encoder(self._loaded, clips)
            questions = [Question((row,)) for _, row in there]
            captioner = self._captioner(positions_of(questions, encoder, ANSWER))
            try:
                table = []
                for side in sides:
                    said = captions(captioner, side, questions, encoder, ANSWER, self._tell)
                    row = TableRow(side.version, left_out=dict(left_out))
                    for ((name, one), _), answer in zip(there, said, strict=True):
                        row.answers[name].append(Answered(one, answer.text))
                    table.append(row)
                return table
            finally:
                captioner.engine.close()
        finally:
            decoders.close()

    def _captioner(self, positions: int) -> EngineCaptioner:
        return EngineCaptioner(
            self._loaded,
            self._choice.card,
            rows=self._plan.rows.value,
            positions=positions,
            chunk=self._plan.chunk.value,
            mode=self._settings.engine,
        )

    def _learned(self, manifest: AdapterManifest) -> Iterator[str]:
        """SHA-256 of the manifests that it and those before it were trained on, as far as these can
        be read; what they replayed is among them."""
        seen: set[str] = set()
        while True:
            yield manifest.data_sha256
            yield from (one.data_sha256 for one in manifest.replayed)
            seen.add(manifest.version)
            older = manifest.parent
            if older is None or older in seen:
                return
            try:
                manifest = self._registry.manifest(manifest.base.weights_sha256, older)
            except (Missing, *UNREADABLE):
                return

    def _fetched(self, name: str, data: str, trained_on: Collection[str]) -> JudgedRows:
        try:
            return fetch_set(
                name,
                data,
                ObjectStore(),
                self._folder,
                prompt=self._settings.prompt,
                most=self._settings.max_video_bytes,
                trained_on=trained_on,
            )
        except Missing as error:
            raise UsageError(str(error), cure="Check the address.") from error

    def _side(self, manifest: AdapterManifest | None) -> Side:
        if manifest is None:
            return Side(None, None)
        base, version = self._loaded.identity.weights_sha256, manifest.version
        if manifest.base.weights_sha256 != base:
            raise UsageError(
                f"adapter {version} is one of {manifest.base.id} (revision "
                f"{manifest.base.revision}), whose weights are not those of {self._settings.model}",
                cure="Let JAMAK_MODEL, JAMAK_MODEL_REVISION and JAMAK_MODEL_PATH name its base.",
            )
        directory = self._folder / f"adapter-{version}"
        self._registry.download(base, version, directory)
        return Side(version, read_adapter(version, directory, self._shape))


def _row(name: str, asked: Asked, videos: Mapping[str, Path]) -> Row:
    question = asked.question.replace("<", "(").replace(">", ")")  # no token of a model
    return Row(
        id=name,
        videos=(MediaRef(uri=str(videos[asked.video].absolute())),),
        prompt=f"USER: <video>\n{question} {INSTRUCTION} ASSISTANT:",
        completion=asked.answer,
    )
