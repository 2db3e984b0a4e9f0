"""What the vision tower makes of frames, and a model that takes this in place of frames.

No stage trains the tower, so what it made of a clip once counts for every step. It is computed by
the captioner's own code, clip by clip: which clips share a batch changes no bit of it.
"""

import functools
import hashlib
import json
from functools import cached_property
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from workers.caption.engine.vision import VisionTower
from workers.model.loading import LoadedModel

PIXELS = 5
"""Dimensions of frames as transformers takes them; of features there are three."""
SHAPES = (
    *("vision_feature_layer", "vision_feature_select_strategy"),
    *("spatial_pool_mode", "spatial_pool_stride"),
)
"""What a configuration says of the way from frames to features, beside the tower's own size."""


class Sight:
    """Of one model, which takes features from now on.

    Args:
        loaded: before or after an adapter was put on it; no adapter changes the tower.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        _take_features(loaded.model.model)

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(frames, 3, side, side) -> (frames, visual tokens of each, vision hidden), on the CPU, in
        the type that the model computes in; pooled, and not projected yet."""
        made = self._tower(pixels.to(self._loaded.device, self._loaded.dtype))
        return made.view(len(pixels), -1, made.shape[-1]).cpu()

    def close(self) -> None:
        """Gives its own copy of weights back; it is made anew when it is wanted."""
        self.__dict__.pop("_tower", None)

    @cached_property
    def _tower(self) -> VisionTower:
        return VisionTower(self._loaded.model.model)

    @cached_property
    def digest(self) -> str:
        """Of all that features depend on beside the pixels: weights, their type, what is taken of
        the tower, and what computes. Equal digests mean equal bits."""
        model, device = self._loaded.model.model, self._loaded.device
        found = hashlib.sha256()
        for part in (model.vision_tower, model.vision_resampler):
            for name, tensor in sorted(part.state_dict().items()):
                found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
                found.update(_bytes_of(tensor))
        machine = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else torch.backends.cpu.get_cpu_capability()
        )
        config = model.config
        shapes = {name: getattr(config, name) for name in SHAPES}
        tower = config.vision_config.to_dict()
        told = [shapes, tower, str(self._loaded.dtype), machine, torch.__version__]
        found.update(json.dumps(told, sort_keys=True, default=str).encode())
        return found.hexdigest()


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _take_features(model: Any) -> None:
    """A LlavaNextVideoModel's `pixel_values_videos` may then be features, (frames, tokens, hidden).

    The one method that `forward` and `generate` both ask is overridden: TRL's trainers hand on
    what the model has a name for, and `mm_encoder_outputs`, transformers' own way, takes features
    that are projected already, while the projector is what is trained.
    """
    of_frames = model.get_video_features

    @functools.wraps(of_frames)  # generate() reads the names of its arguments
    def get_video_features(pixel_values_videos: torch.Tensor, **options: Any) -> Any:
        if pixel_values_videos.dim() == PIXELS:
            return of_frames(pixel_values_videos, **options)
        projected = model.multi_modal_projector(pixel_values_videos)
        return BaseModelOutputWithPooling(pooler_output=projected.flatten(0, 1)[None])

    model.get_video_features = get_video_features
