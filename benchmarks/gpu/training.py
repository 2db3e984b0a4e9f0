"""Steps of supervised QLoRA: as a training job takes them, and TRL's trainer as it comes.

Both have the same model of random weights, batches, LoRA, rate and checkpointing. Ours has each
clip's features ready, as a job has after it has looked at its clips once; the other one is given
pixels. What either takes of the card is what torch has allocated at most.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from benchmarks.gpu.models import EOS, TEXT_TOKENS, can_quantise, quantise, random_model
from shared.prompts import BASE_PROMPT
from shared.training import TrainJob
from workers.model.adapter_files import lora_config
from workers.model.geometry import Geometry
from workers.model.loading import LoadedModel
from workers.train.adapter import with_adapter
from workers.train.collate import IGNORED, Batch
from workers.train.ending import Ending
from workers.train.memory import Run, needed
from workers.train.saving import Saving
from workers.train.sft import VideoSFTTrainer
from workers.train.sight import Sight
from workers.train.trainers import train_with

ANSWER = 100
"""Tokens of an answer."""


@dataclass(frozen=True)
class Training:
    """How much is trained."""

    batch_size: int
    frames: int
    rank: int
    steps: int
    """Of which the first `warm` do not count."""
    warm: int


FULL = Training(batch_size=8, frames=4, rank=16, steps=15, warm=4)
QUICK = Training(batch_size=2, frames=2, rank=4, steps=4, warm=1)


class Batches:
    """Collates rows of random tokens, and notes when it is asked to: once a step."""

    def __init__(self, loaded: LoadedModel, work: Training, clips: torch.Tensor) -> None:
        self._clips, self.asked = clips, list[float]()
        video = [loaded.layout.video_token_id] * (work.frames * loaded.layout.tokens_per_frame)
        generator = torch.Generator().manual_seed(0)
        text = torch.randint(3, 400, (TEXT_TOKENS + ANSWER,), generator=generator).tolist()
        self._ids = torch.tensor([*video, *text[:-1], EOS])

    def __call__(self, rows: Sequence[Any]) -> Batch:
        self.asked.append(time.perf_counter())
        ids = self._ids.repeat(len(rows), 1)
        answer = torch.arange(len(self._ids)) >= len(self._ids) - ANSWER
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": ids.masked_fill(~answer, IGNORED),
            "pixel_values_videos": self._of_rows(len(rows)),
        }

    def _of_rows(self, rows: int) -> torch.Tensor:
        """Frames are one video, (1, frames of all rows, 3, S, S); features have no such axis."""
        every = self._clips.repeat(rows, *[1] * (self._clips.ndim - 1))
        return every[None] if self._clips.ndim == 4 else every

    def step_s(self, warm: int) -> float:
        """Between two batches: each step's loss is read, so a card has ended it by then."""
        times = self.asked[warm:]
        return median(b - a for a, b in pairwise(times))


Trains = Callable[[LoadedModel, TrainJob, Training, Path], Batches]


def ours(loaded: LoadedModel, job: TrainJob, work: Training, folder: Path) -> Batches:
    sight = Sight(loaded)
    batches = Batches(loaded, work, sight(_frames(loaded, work)))
    sight.close()
    train_with(
        VideoSFTTrainer,
        SFTConfig,
        batches,
        with_adapter(loaded, job, None),
        _rows(work),
        job,
        loaded,
        Saving(folder, "", Ending()),
        loss_type="nll",
    )
    return batches


def plain(loaded: LoadedModel, job: TrainJob, work: Training, folder: Path) -> Batches:
    batches = Batches(loaded, work, _frames(loaded, work).to(loaded.dtype))
    on_gpu = loaded.device.type == "cuda"
    arguments = SFTConfig(
        output_dir=str(folder),
        max_steps=job.steps,
        per_device_train_batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, job.steps // 20),
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        bf16=loaded.dtype == torch.bfloat16,
        gradient_checkpointing=on_gpu,
        use_cpu=not on_gpu,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        loaded.model,
        arguments,
        train_dataset=Dataset.from_list(_rows(work)),
        data_collator=batches,
        processing_class=loaded.tokenizer,
        peft_config=lora_config(job.rank),
    )
    trainer.train()
    return batches


SYSTEMS: dict[str, Trains] = {"jamak": ours, "plain_trl": plain}


def compared(
    name: str,
    geometry: Geometry,
    device: torch.device,
    dtype: torch.dtype,
    work: Training,
    left_s: Callable[[], float],
) -> dict[str, Any]:
    """Steps a second and peak memory of each, and our steps to its and our memory to its.

    Args:
        left_s: seconds of the time for all. The other one is left out if ours took longer.
    """
    # 4-bit weights want layers of 64 columns and a library; without it both train 16-bit ones.
    quantized = can_quantise() and device.type == "cuda"
    job = TrainJob(
        id="gpu",
        data="s3://b/m.jsonl",
        model=name,
        revision="random",
        prompt=BASE_PROMPT,
        quantized=quantized,
        frames=work.frames,
        steps=work.steps,
        batch_size=work.batch_size,
        rank=work.rank,
    )
    told: dict[str, Any] = {
        "recipe": "QLoRA, NF4" if quantized else f"LoRA, {str(dtype).removeprefix('torch.')}",
        "batch_size": work.batch_size,
        "frames": work.frames,
        "counted_steps": work.steps - work.warm,
    }
    if device.type == "cuda" and not quantized:
        told["why_no_4_bits"] = "bitsandbytes is not installed"
    took_s = 0.0
    for system, train in SYSTEMS.items():
        if took_s > left_s():
            return {**told, system: {"skipped": f"no time left: ours took {took_s:.0f} s"}}
        began = time.perf_counter()
        told[system] = _measured(name, geometry, device, dtype, job, work, train)
        took_s = time.perf_counter() - began
    told["step_ratio"] = round(told["jamak"]["steps_per_s"] / told["plain_trl"]["steps_per_s"], 3)
    told["planned_bytes"] = _planned(geometry, device, dtype, job)
    if device.type == "cuda":
        peaks = [told[system]["peak_bytes"] for system in SYSTEMS]
        told["memory_ratio"] = round(peaks[0] / peaks[1], 3)
        told["planned_ratio"] = round(told["planned_bytes"] / peaks[0], 3)
        told["goals"] = {
            "step_ratio >= 1": told["step_ratio"] >= 1,
            "memory_ratio <= 1": told["memory_ratio"] <= 1,
        }
    return told


def _measured(
    name: str,
    geometry: Geometry,
    device: torch.device,
    dtype: torch.dtype,
    job: TrainJob,
    work: Training,
    train: Trains,
) -> dict[str, Any]:
    loaded = random_model(name, geometry, device, dtype)
    object.__setattr__(loaded, "tokenizer", _tokenizer())
    if job.quantized:
        quantise(loaded)
        loaded.model.is_loaded_in_4bit = True  # as loading says it
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    # Trainers tell of each step where the results belong.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        batches = train(loaded, job, work, Path(folder))
    told = {"steps_per_s": round(1 / batches.step_s(work.warm), 4)}
    if device.type == "cuda":
        told["peak_bytes"] = torch.cuda.max_memory_allocated(device)
    return told


def _planned(geometry: Geometry, device: torch.device, dtype: torch.dtype, job: TrainJob) -> int:
    """Of a step: nothing is captioned here."""
    on_card = device.type == "cuda"
    run = Run.of(job, TEXT_TOKENS, ANSWER, on_card=on_card)
    need = needed(run, geometry, dtype.itemsize, on_card=on_card)
    return need.weights + need.trained + need.step


def _frames(loaded: LoadedModel, work: Training) -> torch.Tensor:
    side = loaded.preprocessor.crop
    generator = torch.Generator().manual_seed(1)
    return torch.randn(work.frames, 3, side, side, generator=generator)


def _rows(work: Training) -> list[dict[str, int]]:
    return [{"row": number} for number in range(work.batch_size * work.steps)]


def _tokenizer() -> PreTrainedTokenizerFast:
    """TRL wants one; batches are made without."""
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    words = {name: number for number, name in enumerate(names.values())}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words)), **names)
