"""One caption at a time, by transformers' `generate` and peft: what the engine is compared with.

It fulfils the same seam (`Captioner` in workers/caption/captioner.py).
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from shared.cards import CardClass
from shared.errors import DoesNotFit
from shared.messages import AdapterUsed, Decoding
from workers.caption.budget import Plan, plan_frames
from workers.caption.captioner import Answer
from workers.model.adapter_files import Adapter, AdapterShape, lora_config, read_adapter
from workers.model.loading import LoadedModel
from workers.model.prompt import prompt_ids, text_of
from workers.progress import Progress
from workers.video.convert import Frames


class GenerateCaptioner:
    """One model, one caption at a time: a lock stands where the engine stands now."""

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


class _Tick(StoppingCriteria):
    """Called at each decode step: it says that the work moves, and is where a job is stopped."""

    def __init__(self, *watched: Progress) -> None:
        self._watched = watched

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        for progress in self._watched:
            progress.tick("generate")
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class ModelWithAdapters:
    """A base model and at most one adapter on top. Not thread-safe: its owner holds a lock."""

    def __init__(self, base: Any) -> None:
        self._base = base
        # Of the untouched base: peft wraps its modules in place.
        self._shape = AdapterShape.of(base)
        self._peft: Any = None
        self._active: str | None = None
        """The version in use; None = the base."""

    @property
    def model(self) -> Any:
        """What to call generate() on, inside `running()`."""
        return self._peft or self._base

    def running(self) -> AbstractContextManager[Any]:
        if self._peft is not None and self._active is None:
            context: AbstractContextManager[Any] = self._peft.disable_adapter()
            return context
        return nullcontext()

    def check(self, version: str, directory: Path) -> Adapter:
        """Would this adapter fit this base, completely and with sane numbers?

        Raises:
            BadAdapter: naming what is wrong.
        """
        adapter = read_adapter(version, directory, self._shape)
        # Before `use`, for which the captions wait, and not at the start: it takes more than a
        # second, and without an adapter nothing of it is needed.
        import peft  # noqa: F401

        return adapter

    def use(self, version: str | None, adapter: Adapter | None) -> None:
        """Switch to a checked adapter, or to the base. The one before is freed.

        A failed load leaves what was in use.
        """
        if version == self._active:
            return
        if version is not None and adapter is not None:
            try:
                self._load(version, adapter)
            except Exception:
                self._drop(version)
                raise
        old, self._active = self._active, version
        if old is not None and version is not None:
            self._drop(old)

    def _load(self, version: str, adapter: Adapter) -> None:
        from peft import get_peft_model, set_peft_model_state_dict  # `check` has imported it

        config = lora_config(adapter.rank)
        config.inference_mode = True
        if self._peft is None:
            self._peft = get_peft_model(self._base, config, version, autocast_adapter_dtype=False)
        elif version not in self._peft.peft_config:
            self._peft.add_adapter(version, config, autocast_adapter_dtype=False)
        # Again if it is there already: a load before this one may have failed half-way.
        set_peft_model_state_dict(self._peft, adapter.tensors, adapter_name=version)
        self._peft.set_adapter(version, inference_mode=True)
        for other in [name for name in self._peft.peft_config if name != version]:
            if other != self._active:
                self._drop(other)
        self._peft.eval()

    def _drop(self, version: str) -> None:
        # peft cannot be without any adapter: the last one stays, switched off.
        if self._peft is not None and len(self._peft.peft_config) > 1:
            self._peft.delete_adapter(version)
