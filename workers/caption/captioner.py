"""Frames in, caption out: the narrow seam behind which the model runs.

`Captioner` is what the rest of the worker knows.
"""

import zlib
from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from shared import telemetry
from shared.cards import CardClass
from shared.errors import LacksMemory, NoRoom
from shared.messages import AdapterUsed, Decoding
from workers.caption.card_plan import ADAPTERS, VISION_FRAMES
from workers.caption.engine.buckets import Mode
from workers.caption.engine.engine import Engine, Size
from workers.caption.engine.requests import Request, Ticket
from workers.caption.engine.sampling import Sampling
from workers.caption.engine.size import Limits
from workers.caption.features import Features
from workers.caption.frames import Plan, plan_frames
from workers.caption.language_lock import LanguageLock
from workers.caption.meter import Meter
from workers.caption.room import Room
from workers.model.adapter_files import Adapter, AdapterShape, read_adapter
from workers.model.ends import before_end
from workers.model.layout import VisualLayout
from workers.model.loading import LoadedModel
from workers.model.prompt import prompt_ids, question_ids
from workers.model.spoken import spoken
from workers.model.syllables import longest, tokens_a_syllable
from workers.progress import Progress
from workers.video.shape import Frames, Shape

log = telemetry.get_logger("jamak.captioner")


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
    features: Features | None = None
    """Of the frames, where it was frames that were shown."""
    heard: str = ""
    """As it was said, with all that is no text; empty: as `text`."""


class Captioner(Protocol):
    """Safe to call from many threads."""

    @property
    def shape(self) -> Shape | None:
        """Of the frames that it likes best; None: their own."""

    def longest(self, decoding: Decoding) -> int:
        """Tokens of a caption that is asked for so."""

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        """Raises DoesNotFit; NoRoom: it did, until memory ran out."""

    def sight(self, frames: int) -> str:
        """What so many frames would be seen with now. What was made of frames stands for them as
        long as this is the same."""

    def caption(
        self,
        frames: Frames | Features,
        prompt: str,
        decoding: Decoding,
        progress: Progress,
        canary: int | None = None,
    ) -> Answer:
        """Describe the frames of one video, or what was made of them.

        Args:
            canary: the generation of the one that is to say it, if it is beside; else what is in
                use does.

        Raises:
            LacksMemory, NotFinite.
        """

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether the model takes a prompt without frames, and has room for the answer."""

    def answer(
        self, prompt: str, decoding: Decoding, progress: Progress, canary: int | None = None
    ) -> Answer:
        """To a prompt without frames. Raises DoesNotFit, NotFinite."""

    def check_adapter(self, version: str, directory: Path) -> Adapter:
        """Its files, read and found to fit. Raises BadAdapter."""

    def use_adapter(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        """From the next caption on; the one that runs ends as it began. No canary is beside it.

        Args:
            adapter: None: it is in memory, or it is the base model.
        """

    def try_adapter(self, used: AdapterUsed, adapter: Adapter | None) -> None:
        """As a canary, beside the one in use: for captions that ask for it by its generation."""


@dataclass(frozen=True)
class Shown:
    """To the model, beside a prompt."""

    frames: int
    layout: VisualLayout
    sight: str = ""
    seed: int = 0
    """Of the pixels."""
    pixels: torch.Tensor | None = None
    features: torch.Tensor | None = None
    """Instead of pixels."""

    @property
    def tokens(self) -> int:
        return self.frames * self.layout.tokens_per_frame


class EngineCaptioner:
    """Many captions at once, by the engine.

    Args:
        rows: captions at once.
        positions: of the longest of them: visual, prompt and new tokens.
        chunk: tokens of prompts in a step.
        mode: how the engine computes (workers/caption/engine/buckets.py).
        limits: what was too much for this card before.
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
        limits: Limits | None = None,
    ) -> None:
        self._loaded, self._card = loaded, card
        layout, config = loaded.layout, loaded.model.config
        can_pool = config.spatial_pool_mode != "conv"  # that has weights of its own
        self._pooled = replace(layout, pool_stride=max(3 if can_pool else 0, layout.pool_stride))
        self._room = Room()
        self._each = tokens_a_syllable(loaded.tokenizer)
        self.shape = loaded.preprocessor.shape
        self._adapter_shape = AdapterShape.of(loaded.model)
        self._positions = min(positions or loaded.context, loaded.context)
        self._moves = Progress()
        """Of the engine: those who wait for a row are as alive as it is."""
        self._meter = meter or Meter(lambda *_: None)
        patches = VISION_FRAMES * loaded.layout.patches_per_side**2
        size = Size(rows, self._positions, chunk, patches, ADAPTERS)
        lock = LanguageLock(loaded.tokenizer, loaded.model.lm_head.out_features)
        self.engine = Engine(loaded, size, lock, self._turned, mode=mode, limits=limits)
        self._planned = size
        telemetry.ENGINE_ROWS_MOST.set(self.engine.size.rows)

    def longest(self, decoding: Decoding) -> int:
        return longest(decoding, self._each)

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        plan = plan_frames(
            self._card,
            requested=frames,
            tokens_per_frame=self._loaded.layout.tokens_per_frame,
            prompt_tokens=len(prompt_ids(self._loaded.tokenizer, prompt)) - 1,
            new_tokens=max_new_tokens,
            context=self._loaded.context,
            positions=self._positions,
        )
        most = self._room.most
        if most is None or plan.visual_tokens <= most:
            return plan
        each = self._pooled.tokens_per_frame
        fitting = min(plan.frames, most // each)
        reason = f"memory ran out with more than {most} visual tokens"
        if frames is not None and fitting < frames:
            raise NoRoom(f"{frames} frames: {reason}")
        return Plan(fitting, fitting * each, reason, reduced=fitting < plan.frames)

    def sight(self, frames: int) -> str:
        return self._sight(self._layout(frames))

    def _sight(self, layout: VisualLayout) -> str:
        loaded, stride = self._loaded, layout.pool_stride
        return f"{loaded.identity.weights_sha256} {loaded.dtype} {stride}x{stride}"

    def _shown(self, frames: Frames | Features) -> Shown:
        if isinstance(frames, Features):
            layout = replace(self._loaded.layout, pool_stride=frames.pool_stride)
            return Shown(frames.frames, layout, seed=frames.seed, features=frames.tensor)
        layout = self._layout(len(frames))
        pixels = self._loaded.preprocessor(frames)
        seed = zlib.crc32(np.ascontiguousarray(frames).data)
        return Shown(len(frames), layout, self._sight(layout), seed, pixels)

    def _layout(self, frames: int) -> VisualLayout:
        own, most = self._loaded.layout, self._room.most
        return own if most is None or frames * own.tokens_per_frame <= most else self._pooled

    def caption(
        self,
        frames: Frames | Features,
        prompt: str,
        decoding: Decoding,
        progress: Progress,
        canary: int | None = None,
    ) -> Answer:
        progress.tick("preprocess")
        shown = self._shown(frames)
        text_ids = prompt_ids(self._loaded.tokenizer, prompt)
        ids = shown.layout.expand(text_ids, videos=[shown.frames])
        try:
            return self._ask(ids, decoding, progress, shown, canary)
        except LacksMemory as error:
            raise LacksMemory(str(error), again=self._can_be_less(shown)) from error

    def _can_be_less(self, shown: Shown) -> bool:
        """Than this: 3x3 pooling first, then fewer frames. If so, it is planned from now on."""
        is_pooled = shown.layout.pool_stride >= self._pooled.pool_stride
        most = shown.tokens // 2 if is_pooled else shown.tokens - 1
        if most < self._pooled.tokens_per_frame:
            return False
        self._room.learn(most)
        log.warning("memory ran out for a caption alone", visual_tokens_most=most)
        return True

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        prompt_tokens = len(question_ids(self._loaded.tokenizer, prompt))
        return bool(prompt_tokens + max_new_tokens <= self._positions)

    def answer(
        self, prompt: str, decoding: Decoding, progress: Progress, canary: int | None = None
    ) -> Answer:
        ids = question_ids(self._loaded.tokenizer, prompt)
        return self._ask(ids, decoding, progress, Shown(0, self._loaded.layout), canary)

    def _ask(
        self,
        ids: list[int],
        decoding: Decoding,
        progress: Progress,
        shown: Shown,
        canary: int | None,
    ) -> Answer:
        ticket: Ticket | None = None

        def tick(runs: bool) -> None:
            if runs:
                heard = ticket is not None and ticket.first_s is not None
                progress.tick("generate" if heard else "prefill")
            else:
                progress.check()

        progress.wait_for(self._moves, "engine_wait")
        sampling = Sampling(
            self.longest(decoding),
            decoding.temperature,
            seed=_seed(ids, shown, decoding.draw) if decoding.temperature else 0,
            locked=decoding.language == "ko",
        )
        with self._meter.asked():
            request = Request(
                tuple(ids),
                shown.pixels,
                shown.features,
                shown.layout.pool_stride,
                samplings=(sampling,),
                canary=canary,
                tick=tick,
            )
            ticket = self.engine.submit(request)
            [said] = ticket.result()
        telemetry.ENGINE_FIRST_TOKEN.observe(ticket.first_s or 0.0)
        # Not by the step: one more may have been begun for a caption that was over.
        telemetry.ENGINE_TOKENS.labels("generated").inc(len(said.tokens))
        finished = said.ended == "eos"
        tokens = before_end(said.tokens, self._loaded.ends)
        words = spoken(self._loaded.tokenizer, tokens, finished=finished)
        return Answer(
            text=words.text,
            finished=finished,
            visual_tokens=shown.tokens,
            prompt_tokens=len(ids) - shown.tokens,
            generated_tokens=len(said.tokens),
            adapter=said.adapter,
            features=_features(ticket, shown),
            heard=words.heard,
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

    def try_adapter(self, used: AdapterUsed, adapter: Adapter | None) -> None:
        self.engine.stand_by(used, adapter)

    def prove(self) -> None:
        """Raises RuntimeError: the engine has ended, and captions nothing any more."""
        if not self.engine.lives:
            raise RuntimeError("the engine has ended")

    def facts(self) -> dict[str, int | None]:
        """What it has room for, and what was planned."""
        size, planned = self.engine.size, self._planned
        return {
            "rows": size.rows,
            "rows_planned": planned.rows,
            "chunk": size.chunk,
            "chunk_planned": planned.chunk,
            "visual_tokens": self._room.most,
        }


def _seed(ids: list[int], shown: Shown, draw: int | None) -> int:
    """Of what is asked: asked again it is answered alike, and two videos have nothing in common."""
    numbered = [] if draw is None else [draw]
    return zlib.crc32(array("q", [*ids, *numbered]).tobytes(), shown.seed)


def _features(ticket: Ticket, shown: Shown) -> Features | None:
    """To be kept, if there were frames."""
    if shown.pixels is None or ticket.features is None:
        return None
    # A copy: on a GPU's machine this memory is the device's, and dear.
    tensor, stride = ticket.features.clone(), shown.layout.pool_stride
    return Features(tensor, shown.frames, stride, shown.sight, shown.seed)
