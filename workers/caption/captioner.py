"""Frames in, caption out: the narrow seam behind which the model runs.

`Captioner` is what the rest of the worker knows.
"""

import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from shared import telemetry
from shared.cards import CardClass
from shared.messages import AdapterUsed, Decoding
from workers.caption.budget import ADAPTERS, VISION_FRAMES, Plan, plan_frames
from workers.caption.engine.buckets import Mode
from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.requests import Request
from workers.caption.engine.sampling import Sampling
from workers.caption.language_lock import LanguageLock
from workers.caption.meter import Meter
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter
from workers.model.loading import LoadedModel
from workers.model.prompt import prompt_ids, text_of
from workers.progress import Progress
from workers.video.shape import Frames, Shape


@dataclass(frozen=True)
class Answer:
    text: str
    finished: bool
    """The model ended by itself, not at max_new_tokens."""
    visual_tokens: int
    prompt_tokens: int
    generated_tokens: int
    adapter: AdapterUsed | None
    """None = the base model."""


class Captioner(Protocol):
    """Safe to call from many threads."""

    @property
    def shape(self) -> Shape | None:
        """Of the frames that it likes best; None: their own."""

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        """Raises DoesNotFit."""

    def caption(
        self, frames: Frames, prompt: str, decoding: Decoding, progress: Progress
    ) -> Answer:
        """Describe the frames of one video."""

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether the model takes a prompt without frames, and has room for the answer."""

    def answer(self, prompt: str, decoding: Decoding, progress: Progress) -> Answer:
        """To a prompt without frames. Raises DoesNotFit."""

    def check_adapter(self, version: str, directory: Path) -> Adapter:
        """Its files, read and found to fit. Raises BadAdapter."""

    def use_adapter(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        """From the next caption on; the one that runs ends as it began."""


class EngineCaptioner:
    """Many captions at once, by the engine.

    Args:
        rows: captions at once.
        positions: of the longest of them: visual, prompt and new tokens.
        chunk: tokens of prompts in a step.
        mode: how the engine computes (workers/caption/engine/buckets.py).
    """

    def __init__(
        self,
        loaded: LoadedModel,
        card: CardClass,
        *,
        rows: int = 8,
        positions: int | None = None,
        chunk: int = 512,
        mode: Mode = "fast",
        meter: Meter | None = None,
    ) -> None:
        self._loaded, self._card = loaded, card
        self.shape = loaded.preprocessor.shape
        self._adapter_shape = AdapterShape.of(loaded.model)
        self._positions = min(positions or loaded.context, loaded.context)
        self._moves = Progress()
        """Of the engine: those who wait for a row are as alive as it is."""
        self._meter = meter or Meter(lambda *_: None)
        patches = VISION_FRAMES * loaded.layout.patches_per_side**2
        size = Size(rows, self._positions, chunk, patches, ADAPTERS)
        telemetry.ENGINE_ROWS_MOST.set(rows)
        lock = LanguageLock(loaded.tokenizer, loaded.model.lm_head.out_features)
        self.engine = Engine(loaded, size, lock, self._turned, mode=mode)

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        return plan_frames(
            self._card,
            requested=frames,
            tokens_per_frame=self._loaded.layout.tokens_per_frame,
            prompt_tokens=len(prompt_ids(self._loaded.tokenizer, prompt)) - 1,
            new_tokens=max_new_tokens,
            context=self._loaded.context,
            positions=self._positions,
        )

    def caption(
        self, frames: Frames, prompt: str, decoding: Decoding, progress: Progress
    ) -> Answer:
        progress.tick("preprocess")
        loaded = self._loaded
        text_ids = prompt_ids(loaded.tokenizer, prompt)
        ids = loaded.layout.expand(text_ids, videos=[len(frames)])
        visual = len(frames) * loaded.layout.tokens_per_frame
        return self._ask(ids, visual, loaded.preprocessor(frames), decoding, progress)

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        prompt_tokens = len(self._loaded.tokenizer(prompt).input_ids)
        return bool(prompt_tokens + max_new_tokens <= self._positions)

    def answer(self, prompt: str, decoding: Decoding, progress: Progress) -> Answer:
        ids = list(self._loaded.tokenizer(prompt).input_ids)
        return self._ask(ids, 0, None, decoding, progress)

    def _ask(
        self,
        ids: list[int],
        visual: int,
        pixels: torch.Tensor | None,
        decoding: Decoding,
        progress: Progress,
    ) -> Answer:
        """`visual` of the ids stand for pictures."""

        def tick(runs: bool) -> None:
            if runs:
                progress.tick("generate")
            else:
                progress.check()

        progress.wait_for(self._moves)
        sampling = Sampling(
            decoding.max_new_tokens,
            decoding.temperature,
            seed=_seed(ids, pixels) if decoding.temperature else 0,
            locked=decoding.language == "ko",
        )
        with self._meter.asked():
            request = Request(tuple(ids), pixels, samplings=(sampling,), tick=tick)
            ticket = self.engine.submit(request)
            [said] = ticket.result()
        telemetry.ENGINE_FIRST_TOKEN.observe(ticket.first_s or 0.0)
        # Not by the step: one more may have been begun for a caption that was over.
        telemetry.ENGINE_TOKENS.labels("generated").inc(len(said.tokens))
        return Answer(
            text=text_of(self._loaded.tokenizer, list(said.tokens)),
            finished=said.ended == "eos",
            visual_tokens=visual,
            prompt_tokens=len(ids) - visual,
            generated_tokens=len(said.tokens),
            adapter=said.adapter,
        )

    def _turned(self, rows: int, tokens: int) -> None:
        """The engine begins another step, with so many rows and tokens of prompts."""
        self._moves.tick("generate")
        telemetry.ENGINE_ROWS.set(rows)
        telemetry.ENGINE_TOKENS.labels("prompt").inc(tokens)
        self._meter.look()

    def check_adapter(self, version: str, directory: Path) -> Adapter:
        return read_adapter(version, directory, self._adapter_shape)

    def use_adapter(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        self.engine.use(used, adapter)


def _seed(ids: list[int], pixels: torch.Tensor | None) -> int:
    """Of what is asked: asked again it is answered alike, and two videos have nothing in common."""
    seed = zlib.crc32(array("q", ids).tobytes())
    return seed if pixels is None else zlib.crc32(pixels.numpy().tobytes(), seed)
