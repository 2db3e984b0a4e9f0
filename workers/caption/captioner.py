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
from workers.model.adapter_files import Adapter
from workers.model.loading import LoadedModel
from workers.model.prompt import prompt_ids, text_of
from workers.progress import Progress
from workers.video.convert import Frames, Shape


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


class GenerateCaptioner:
    """One model, one caption at a time: a lock stands where a batching engine will stand."""

    def __init__(self, loaded: LoadedModel, card: CardClass) -> None:
        self._loaded, self._card = loaded, card
        self.shape = loaded.preprocessor.shape
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
        pixels = loaded.preprocessor(frames).to(loaded.device, loaded.dtype).unsqueeze(0)
        text_ids = prompt_ids(loaded.tokenizer, prompt)
        visual = len(frames) * loaded.layout.tokens_per_frame
        self._check_context(visual, len(text_ids) - 1, decoding.max_new_tokens)
        ids = loaded.layout.expand(text_ids, videos=[len(frames)])
        pictures = {"pixel_values_videos": pixels}  # (1, frames, 3, S, S)
        return self._generate(ids, visual, pictures, decoding, progress)

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        prompt_tokens = len(self._loaded.tokenizer(prompt).input_ids)
        return bool(prompt_tokens + max_new_tokens <= self._loaded.context)

    def answer(self, prompt: str, decoding: Decoding, progress: Progress) -> Answer:
        ids = list(self._loaded.tokenizer(prompt).input_ids)
        self._check_context(0, len(ids), decoding.max_new_tokens)
        return self._generate(ids, 0, {}, decoding, progress)

    def _check_context(self, visual: int, prompt_tokens: int, new_tokens: int) -> None:
        if visual + prompt_tokens + new_tokens > self._loaded.context:
            raise DoesNotFit(
                f"{visual} visual, {prompt_tokens} prompt and {new_tokens} new tokens do not fit "
                f"the model's {self._loaded.context} positions"
            )

    def _generate(
        self,
        ids: list[int],
        visual: int,
        pictures: dict[str, torch.Tensor],
        decoding: Decoding,
        progress: Progress,
    ) -> Answer:
        """When it is this one's turn. `visual` of the ids stand for pictures."""
        loaded = self._loaded
        input_ids = torch.tensor([ids], device=loaded.device)
        progress.wait_for(self._engine)
        with self._lock, self._adapters.running(), torch.inference_mode():
            progress.tick("generate")
            used = self._used
            output = self._adapters.model.generate(
                input_ids=input_ids,
                attention_mask=torch.ones_like(input_ids),
                stopping_criteria=StoppingCriteriaList([_Tick(progress, self._engine)]),
                pad_token_id=loaded.tokenizer.pad_token_id,
                eos_token_id=loaded.tokenizer.eos_token_id,
                **pictures,
                **_sampling(decoding),
            )
        generated = output[0, len(ids) :].tolist()
        return Answer(
            text=text_of(loaded.tokenizer, generated),
            finished=bool(generated) and generated[-1] == loaded.tokenizer.eos_token_id,
            visual_tokens=visual,
            prompt_tokens=len(ids) - visual,
            generated_tokens=len(generated),
            adapter=used,
        )

    def check_adapter(self, version: str, directory: Path) -> Adapter:
        return self._adapters.check(version, directory)

    def use_adapter(self, used: AdapterUsed | None, adapter: Adapter | None) -> None:
        with self._lock:
            self._adapters.use(used.version if used else None, adapter)
            self._used = used


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
