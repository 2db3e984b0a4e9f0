"""Rows become batches, with the very code that captions use: prompt, layout, pixels.

TRL knows no videos, so the collators are ours. Prompt and completion are joined as ids, padded on
the right. What was seen of the frames of all rows goes to the model as one video: it replaces the
visual tokens in their order, so that rows may differ in their number of frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from shared.errors import BadData, ConfigError
from shared.rows import FrameOrder, Row
from shared.training import TrainJob
from workers.model.loading import LoadedModel
from workers.model.prompt import completion_ids, prompt_ids
from workers.train.orders import reordered
from workers.train.row_limits import Fault, beyond_context, no_other_order

Batch = dict[str, torch.Tensor]
IGNORED = -100
"""The label that torch's cross-entropy leaves out."""


class Clips(Protocol):
    """Each by the key of its medium (`MediaRef.key`); clips.py."""

    def frames(self, key: str) -> int: ...

    def features(self, keys: Sequence[str]) -> list[torch.Tensor]: ...


@dataclass(frozen=True)
class Encoder:
    """One row's text and clip as the model takes them."""

    loaded: LoadedModel
    clips: Clips

    def prompt(self, prompt: str, video: str) -> list[int]:
        """Ids, the visual tokens expanded."""
        ids = prompt_ids(self.loaded.tokenizer, prompt)
        return self.loaded.layout.expand(ids, videos=[self.clips.frames(video)])

    def completion(self, text: str) -> list[int]:
        return completion_ids(self.loaded.tokenizer, text)

    def features(
        self, videos: Sequence[str], orders: Sequence[FrameOrder | None] = ()
    ) -> torch.Tensor:
        """(frames of all videos, tokens of each, vision hidden): `pixel_values_videos` of a model
        that takes features.

        Args:
            orders: of the frames of each video; none = as they are.
        """
        clips = self.clips.features(videos)
        return torch.cat(list(map(reordered, clips, orders)) if orders else clips)

    def row(self, row: Row) -> Batch:
        """All texts of one row, each after the prompt and the frames of its video."""
        prompt = self.prompt(str(row.prompt), row.media.key)
        texts = [self.completion(text) for text in row.texts]
        batch = _joined([(prompt, text) for text in texts], self.pad_id)
        orders = [None] * (len(texts) - 1) + [row.rejected_frames]  # that text is the last
        return {**batch, "pixel_values_videos": self.features([row.media.key] * len(texts), orders)}

    @property
    def pad_id(self) -> int:
        tokenizer = self.loaded.tokenizer
        pad = tokenizer.pad_token_id
        return int(tokenizer.eos_token_id if pad is None else pad)

    def lengths(self, rows: Sequence[Row], job: TrainJob) -> list[int] | None:
        """Tokens of each row, where rows of like length are to be in one batch."""
        if not job.group_by_length:
            return None
        return [sum(self._length(row)) for row in rows]

    def _length(self, row: Row) -> tuple[int, int]:
        """Tokens of the prompt and the frames, and of the longest text."""
        prompt = len(self.prompt(str(row.prompt), row.media.key))
        return prompt, max(len(self.completion(text)) for text in row.texts)

    def check_lengths(self, rows: Sequence[Row]) -> None:
        """Raises BadData: a row does not fit the model's context, or has no frames to reorder."""
        for _, error in self.beyond(rows):
            raise error

    def beyond(self, rows: Sequence[Row]) -> Iterator[Fault]:
        """Each of these rows, and why."""
        for row in rows:
            if row.rejected_frames and self.clips.frames(row.media.key) == 1:
                yield row, no_other_order(row)
                continue
            try:
                error = beyond_context(row, *self._length(row), self.loaded.context)
            except ConfigError as fault:
                error = BadData(f"row {row.id!r}: {fault}", cure=fault.cure)
            if error:
                yield row, error


@dataclass(frozen=True)
class SftCollator:
    """Features {"prompt", "completion", "video"} -> labels on the completion alone."""

    encoder: Encoder

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Batch:
        pairs = [(self.encoder.prompt(f["prompt"], f["video"]), f["completion"]) for f in features]
        batch = _joined(
            [(prompt, self.encoder.completion(text)) for prompt, text in pairs],
            self.encoder.pad_id,
        )
        mask = batch.pop("completion_mask")
        return {
            **batch,
            "labels": batch["input_ids"].masked_fill(mask == 0, IGNORED),
            "pixel_values_videos": self.encoder.features([f["video"] for f in features]),
        }


@dataclass(frozen=True)
class PreferenceCollator:
    """Features {"prompt", "chosen", "rejected", "video", "rejected_frames"} -> [all chosen, all
    rejected].

    TRL cuts the batch in two; the frames are repeated, those of the rejected in their order.
    """

    encoder: Encoder

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Batch:
        prompts = [self.encoder.prompt(f["prompt"], f["video"]) for f in features]
        videos = [f["video"] for f in features]
        batch = _joined(
            [
                (prompt, self.encoder.completion(f[side]))
                for side in ("chosen", "rejected")
                for prompt, f in zip(prompts, features, strict=True)
            ],
            self.encoder.pad_id,
        )
        orders = [None] * len(videos) + [f["rejected_frames"] for f in features]
        return {**batch, "pixel_values_videos": self.encoder.features(videos + videos, orders)}


@dataclass(frozen=True)
class FeedbackCollator:
    """Features {"prompt", "completion", "label", "video"} -> what KTO compares.

    Its KL term is estimated on captions that do not belong to their videos: those of the batch,
    each moved on by one row (Ethayarajh et al. 2024, section 4.1).
    """

    encoder: Encoder
    with_kl: bool

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Batch:
        prompts = [self.encoder.prompt(f["prompt"], f["video"]) for f in features]
        said = [self.encoder.completion(f["completion"]) for f in features]
        pad_id = self.encoder.pad_id
        batch = _joined(list(zip(prompts, said, strict=True)), pad_id)
        if self.with_kl:
            strangers = _joined(list(zip(prompts, said[-1:] + said[:-1], strict=True)), pad_id)
            batch |= {f"KL_{name}": tensor for name, tensor in strangers.items()}
        return {
            **batch,
            "label": torch.tensor([bool(f["label"]) for f in features]),
            "pixel_values_videos": self.encoder.features([f["video"] for f in features]),
        }


def _joined(pairs: Sequence[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    """(prompt ids, completion ids) -> input_ids, attention_mask, completion_mask (rows, length)."""
    length = max(len(prompt) + len(completion) for prompt, completion in pairs)
    input_ids = torch.full((len(pairs), length), pad_id)
    attention_mask = torch.zeros_like(input_ids)
    completion_mask = torch.zeros_like(input_ids)
    for row, (prompt, completion) in enumerate(pairs):
        end = len(prompt) + len(completion)
        input_ids[row, :end] = torch.tensor(prompt + completion)
        attention_mask[row, :end] = 1
        completion_mask[row, len(prompt) : end] = 1
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "completion_mask": completion_mask,
    }
