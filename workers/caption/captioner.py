"""Frames in, caption out: the narrow seam behind which the model runs.

`Captioner` is what the rest of the worker knows. `GenerateCaptioner` runs transformers' own
`generate`, one caption at a time.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from shared.cards import CardClass
from shared.errors import DoesNotFit
from shared.messages import AdapterUsed, Decoding
from workers.caption.adapters import ModelWithAdapters
from workers.caption.budget import Plan, plan_frames
from workers.model.loading import LoadedModel
from workers.model.prompt import prompt_ids, text_of
from workers.progress import Progress
from workers.video.sampling import Frames


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

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        """Raises DoesNotFit."""

    def caption(
        self, frames: Frames, prompt: str, decoding: Decoding, progress: Progress
    ) -> Answer:
        """Describe the frames of one video."""

    def validate_adapter(self, version: str, directory: Path) -> None:
        """Raises BadAdapter."""

    def use_adapter(self, adapter: AdapterUsed | None, directory: Path | None) -> None:
        """From the next caption on; the one that runs ends as it began."""


class GenerateCaptioner:
    """One model, one caption at a time: a lock stands where a batching engine will stand."""

    def __init__(self, loaded: LoadedModel, card: CardClass) -> None:
        self._loaded, self._card = loaded, card
        self._adapters = ModelWithAdapters(loaded.model)
        self._used: AdapterUsed | None = None
        self._lock = threading.Lock()
        self._engine = Progress()
        """Of whatever runs: those who wait for the model are as alive as it is."""

    def plan(self, prompt: str, frames: int | None, max_new_tokens: int) -> Plan:
        return plan_frames(
            self._card,
            requested=frames,
            tokens_per_frame=self._loaded.layout.tokens_per_frame,
            prompt_tokens=len(prompt_ids(self._loaded.tokenizer, prompt)) - 1,
            new_tokens=max_new_tokens,
            context=self._loaded.context,
        )

    def caption(
        self, frames: Frames, prompt: str, decoding: Decoding, progress: Progress
    ) -> Answer:
        progress.tick("preprocess")
        loaded = self._loaded
        pixels = loaded.preprocessor(frames).to(loaded.device, loaded.dtype)
        text_ids = prompt_ids(loaded.tokenizer, prompt)
        visual = len(frames) * loaded.layout.tokens_per_frame
        if visual + len(text_ids) - 1 + decoding.max_new_tokens > loaded.context:
            raise DoesNotFit(
                f"{visual} visual, {len(text_ids) - 1} prompt and {decoding.max_new_tokens} new "
                f"tokens do not fit the model's {loaded.context} positions"
            )
        ids = loaded.layout.expand(text_ids, videos=[len(frames)])
        input_ids = torch.tensor([ids], device=loaded.device)
        progress.wait_for(self._engine)
        with self._lock, self._adapters.running(), torch.inference_mode():
            progress.tick("generate")
            used = self._used
            output = self._adapters.model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                pixel_values_videos=pixels.unsqueeze(0),  # (1, frames, 3, S, S)
                stopping_criteria=StoppingCriteriaList([_Tick(progress, self._engine)]),
                pad_token_id=loaded.tokenizer.pad_token_id,
                eos_token_id=loaded.tokenizer.eos_token_id,
                **_sampling(decoding),
            )
        generated = output[0, len(ids) :].tolist()
        return Answer(
            text=text_of(loaded.tokenizer, generated),
            finished=bool(generated) and generated[-1] == loaded.tokenizer.eos_token_id,
            visual_tokens=visual,
            prompt_tokens=len(text_ids) - 1,
            generated_tokens=len(generated),
            adapter=used,
        )

    def validate_adapter(self, version: str, directory: Path) -> None:
        self._adapters.validate(version, directory)

    def use_adapter(self, adapter: AdapterUsed | None, directory: Path | None) -> None:
        with self._lock:
            self._adapters.use(adapter.version if adapter else None, directory)
            self._used = adapter


def _sampling(decoding: Decoding) -> dict[str, Any]:
    common: dict[str, Any] = {"max_new_tokens": decoding.max_new_tokens}
    if decoding.temperature == 0:
        return {**common, "do_sample": False}
    return {**common, "do_sample": True, "temperature": decoding.temperature}


class _Tick(StoppingCriteria):  # type: ignore[misc]  # the library is untyped
    """Called at each decode step: it says that the work moves, and is where a job is stopped."""

    def __init__(self, *watched: Progress) -> None:
        self._watched = watched

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        for progress in self._watched:
            progress.tick("generate")
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
