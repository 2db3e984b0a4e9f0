"""The captioner's worker with `generate` behind the seam, one caption at a time: what a worker is
without an engine.

    celery --app benchmarks.worker_one_at_a_time:captions worker

All else is the worker itself. Of benchmarks.worker; it knows no adapters.
"""

import threading
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from shared.cards import CardClass
from shared.messages import AdapterUsed, Decoding
from workers.app import captions
from workers.caption import captioner
from workers.caption.captioner import Answer
from workers.caption.frames import Plan, plan_frames
from workers.model.adapter_files import Adapter
from workers.model.ends import before_end
from workers.model.loading import LoadedModel
from workers.model.prompt import prompt_ids, text_of
from workers.progress import Progress
from workers.video.convert import Frames

__all__ = ["captions"]


class OneAtATime:
    """A Captioner. A lock lets one caption at a time through."""

    def __init__(self, loaded: LoadedModel, card: CardClass, **_: Any) -> None:
        self._loaded, self._card = loaded, card
        self.shape = loaded.preprocessor.shape
        self._lock, self._moves = threading.Lock(), Progress()

    def longest(self, decoding: Decoding) -> int:
        return decoding.max_new_tokens

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        return plan_frames(
            self._card,
            requested=frames,
            tokens_per_frame=self._loaded.layout.tokens_per_frame,
            prompt_tokens=len(prompt_ids(self._loaded.tokenizer, prompt)) - 1,
            new_tokens=max_new_tokens,
            context=self._loaded.context,
        )

    def sight(self, frames: int) -> str:
        return ""

    def caption(
        self,
        frames: Frames,
        prompt: str,
        decoding: Decoding,
        progress: Progress,
        canary: int | None = None,
    ) -> Answer:
        progress.tick("preprocess")
        loaded = self._loaded
        pixels = loaded.preprocessor(frames)[None]
        text_ids = prompt_ids(loaded.tokenizer, prompt)
        ids = loaded.layout.expand(text_ids, videos=[len(frames)])
        progress.wait_for(self._moves)
        with self._lock, torch.inference_mode():
            progress.tick("generate")
            said = self._generate(ids, decoding, progress, pixel_values_videos=pixels)
        visual = len(frames) * loaded.layout.tokens_per_frame
        return Answer(
            text=text_of(loaded.tokenizer, before_end(said, loaded.ends)),
            finished=bool(said) and said[-1] in loaded.ends,
            visual_tokens=visual,
            prompt_tokens=len(ids) - visual,
            generated_tokens=len(said),
            adapter=None,
        )

    def _generate(
        self, ids: list[int], decoding: Decoding, progress: Progress, **pictures: torch.Tensor
    ) -> list[int]:
        def tick(input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
            for one in (progress, self._moves):
                one.tick("generate")
            return torch.zeros(len(input_ids), dtype=torch.bool)

        input_ids = torch.tensor([ids])
        output = self._loaded.model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            stopping_criteria=StoppingCriteriaList([_Calls(tick)]),
            pad_token_id=self._loaded.tokenizer.pad_token_id,
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            **pictures,
        )
        said: list[int] = output[0, len(ids) :].tolist()
        return said

    def facts(self) -> dict[str, int | None]:
        return {}

    def prove(self) -> None:
        pass

    def check_adapter(self, version: str, directory: Path) -> Adapter:
        raise NotImplementedError("no adapters in this benchmark")

    def use_adapter(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        raise NotImplementedError("no adapters in this benchmark")


class _Calls(StoppingCriteria):  # type: ignore[misc]  # the library is untyped
    def __init__(self, what: Any) -> None:
        self._what = what

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._what(*arguments, **named)


# The composition root asks for it by name when its worker starts.
captioner.EngineCaptioner = OneAtATime  # type: ignore[assignment, misc]
