"""The trainings that `train_speed` compares: ours, and TRL's trainers with what their users write.

Same films, frames, prompt, texts, adapter, optimiser and batches. TRL's trainers take no video, so
whoever uses them brings a collator: this one decodes as the example of transformers' model does,
with PyAV from the first frame to the last wanted one, and joins prompt and completion as our own
collators do. `trl_kept` decodes once and keeps the pixels of all clips in memory.
"""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import PrinterCallback, set_seed
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from infra.local.stack import DEMO_MODEL
from shared.prompts import BASE_PROMPT
from shared.rows import Row
from shared.training import TrainJob
from workers.model.adapter_files import lora_config
from workers.model.loading import LoadedModel, load_model
from workers.model.prompt import completion_ids, prompt_ids
from workers.train.adapter import with_adapter
from workers.train.clips import Clips
from workers.train.collate import Encoder
from workers.train.dpo import train_dpo
from workers.train.ending import Ending
from workers.train.feature_files import FeatureFiles
from workers.train.saving import Saving
from workers.train.sft import train_sft
from workers.video.pool import DecoderPool

System = Literal["jamak", "trl", "trl_kept"]
Stage = Literal["sft", "dpo"]
FRAMES, RANK, SEED = 4, 8, 0
KEPT_BYTES = 1 << 30


def cpu_s() -> float:
    """Of this process, and of its decoders that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass
class Clock:
    """CPU seconds, of a training of two epochs."""

    steps: int
    """Of an epoch."""
    _began: float = field(default_factory=cpu_s)
    _ends: list[float] = field(default_factory=list)
    _spent: list[float] = field(default_factory=list)
    _data: list[tuple[float, float]] = field(default_factory=list)

    def timed(self, step: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        began = cpu_s()
        result = step(*arguments, **options)
        self._ends.append(cpu_s())
        self._spent.append(self._ends[-1] - began)
        return result

    def data(self, make: Callable[..., Any], *arguments: Any) -> Any:
        began = cpu_s()
        result = make(*arguments)
        self._data.append((began, cpu_s() - began))
        return result

    def told(self) -> dict[str, float]:
        """To be asked when the training has ended."""
        first, last = self._ends[self.steps - 1], self._ends[2 * self.steps - 1]
        # One batch is made ahead of its step.
        earlier = sum(spent for began, spent in self._data[: -self.steps])
        later = sum(spent for began, spent in self._data[-self.steps :])
        return {
            "step_s": sum(self._spent[self.steps :]) / self.steps,
            "first_epoch_s": first - self._began,
            "second_epoch_s": last - first,
            "first_data_s": earlier,
            "second_data_s": later,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def measure(
    system: System, stage: Stage, rows: Sequence[Row], batch: int, folder: Path
) -> dict[str, float]:
    """One training of two epochs."""
    set_seed(SEED)
    loaded = load_model(DEMO_MODEL, model_id="jamak/tiny", revision="r1")
    clock = Clock(len(rows) // batch)
    job = TrainJob(
        id="speed",
        data="s3://speed/manifest.jsonl",
        model="jamak/tiny",
        revision="r1",
        prompt=BASE_PROMPT,
        stage=stage,
        frames=FRAMES,
        steps=2 * clock.steps,
        batch_size=batch,
        learning_rate=1e-4,
        rank=RANK,
        seed=SEED,
    )
    trainer: Any = SFTTrainer if stage == "sft" else DPOTrainer
    step = trainer.training_step

    def timed(self: Any, *arguments: Any, **options: Any) -> Any:
        return clock.timed(partial(step, self), *arguments, **options)

    trainer.training_step = timed
    if system == "jamak":
        return _ours(loaded, rows, job, clock, folder)
    _plain(loaded, rows, job, clock, folder, kept=system == "trl_kept")
    return clock.told()


def _ours(
    loaded: LoadedModel, rows: Sequence[Row], job: TrainJob, clock: Clock, folder: Path
) -> dict[str, float]:
    """As `workers.train.run`, without its evaluations; and the data of a second job."""

    def clips() -> Clips:
        files = FeatureFiles(folder / "features", KEPT_BYTES)
        return Clips(rows, folder, DecoderPool(1), loaded, files, frames=job.frames)

    def prepared(of: Clips) -> None:
        of.prepare(lambda done, total: None)

    class Timed(Encoder):
        def features(self, *asked: Any) -> torch.Tensor:
            made: torch.Tensor = clock.data(super().features, *asked)
            return made

    ours = clips()
    clock.data(prepared, ours)
    encoder = Timed(loaded, ours)
    model = with_adapter(loaded, job, None)
    train = train_sft if job.stage == "sft" else train_dpo
    train(model, encoder, rows, job, Saving(folder, loaded.identity.weights_sha256, Ending()))
    told = clock.told()
    began = cpu_s()
    prepared(clips())
    return {**told, "next_job_data_s": cpu_s() - began}


def _plain(
    loaded: LoadedModel, rows: Sequence[Row], job: TrainJob, clock: Clock, folder: Path, kept: bool
) -> None:
    model = get_peft_model(loaded.model, lora_config(job.rank))
    options: dict[str, Any] = {
        "output_dir": str(folder / "trainer"),
        "seed": job.seed,
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch_size,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, job.steps // 20),
        "max_length": None,
        "remove_unused_columns": False,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    features = [
        {
            "prompt": row.prompt,
            "texts": [row.completion] if job.stage == "sft" else [row.chosen, row.rejected],
            "path": str(folder / row.media.uri),
        }
        for row in rows
    ]
    collator = Collator(loaded, clock, labels=job.stage == "sft", kept=kept)
    trainer: Any
    if job.stage == "sft":
        arguments = SFTConfig(**options, dataset_kwargs={"skip_prepare_dataset": True})
        trainer, more = SFTTrainer, {}
    else:
        arguments = DPOConfig(
            **options, beta=0.1, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5]
        )
        trainer, more = AsItIs, {"ref_model": None}
    built = trainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=Dataset.from_list(features),
        processing_class=loaded.tokenizer,
        **more,
    )
    built.remove_callback(PrinterCallback)
    built.train()


class AsItIs(DPOTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL would tokenize, and knows no video."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


@dataclass
class Collator:
    """Of TRL's users."""

    loaded: LoadedModel
    clock: Clock
    labels: bool
    kept: bool
    _pixels: dict[str, torch.Tensor] = field(default_factory=dict)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        loaded = self.loaded
        clips = self.clock.data(lambda: [self._clip(one["path"]) for one in features])
        prompts = [
            loaded.layout.expand(prompt_ids(loaded.tokenizer, one["prompt"]), videos=[len(clip)])
            for one, clip in zip(features, clips, strict=True)
        ]
        sides = len(features[0]["texts"])
        pairs = [
            (prompt, completion_ids(loaded.tokenizer, one["texts"][side]))
            for side in range(sides)
            for prompt, one in zip(prompts, features, strict=True)
        ]
        longest = max(len(prompt) + len(said) for prompt, said in pairs)
        ids = torch.full((len(pairs), longest), loaded.tokenizer.pad_token_id)
        seen, said_mask = torch.zeros_like(ids), torch.zeros_like(ids)
        for number, (prompt, said) in enumerate(pairs):
            ids[number, : len(prompt) + len(said)] = torch.tensor(prompt + said)
            seen[number, : len(prompt) + len(said)] = 1
            said_mask[number, len(prompt) : len(prompt) + len(said)] = 1
        batch = {
            "input_ids": ids,
            "attention_mask": seen,
            "pixel_values_videos": torch.cat(clips * sides)[None],
        }
        if self.labels:
            return {**batch, "labels": ids.masked_fill(said_mask == 0, -100)}
        return {**batch, "completion_mask": said_mask}

    def _clip(self, path: str) -> torch.Tensor:
        if path in self._pixels:
            return self._pixels[path]
        with av.open(path) as container:
            stream = container.streams.video[0]
            wanted = np.linspace(0, stream.frames - 1, FRAMES).round().astype(int)
            frames = []
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    frames.append(frame.to_ndarray(format="rgb24"))
                if number == wanted[-1]:
                    break
        pixels = self.loaded.preprocessor(np.stack(frames))
        if self.kept:
            self._pixels[path] = pixels
        return pixels
