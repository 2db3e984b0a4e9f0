"""Frames to pixels, as CLIP wants them: resize, crop, scale, normalise. Without torchvision.

Arithmetic of transformers' CLIP image processing: the shorter edge becomes `shortest_edge`
(bicubic with antialiasing), the centre `crop` x `crop` is kept, bytes become [0, 1], and each
channel is normalised with CLIP's own mean and deviation.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from shared.errors import ConfigError
from workers.video.shape import Frames, Shape

CONFIG_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Preprocessor:
    shortest_edge: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_pretrained(cls, directory: Path) -> "Preprocessor":
        """Read the checkpoint's own numbers; the classes' defaults (224 px) are not the model's.

        Raises:
            ConfigError: no such file, it cannot be read, or a value is missing.
        """
        config = _read_config(Path(directory))
        try:
            size, crop = config["size"], config["crop_size"]
            return cls(
                shortest_edge=size["shortest_edge"] if isinstance(size, dict) else size,
                crop=crop["height"] if isinstance(crop, dict) else crop,
                mean=tuple(config["image_mean"]),
                std=tuple(config["image_std"]),
            )
        except KeyError as error:
            raise ConfigError(
                f"{directory}: the preprocessor's configuration lacks {error}",
                cure="Use a llava-hf checkpoint with its preprocessor_config.json.",
            ) from error

    @property
    def shape(self) -> Shape:
        """What is left of a frame. Frames that have it already are not resized again."""
        return Shape(self.shortest_edge, self.crop)

    def __call__(self, frames: Frames) -> torch.Tensor:
        """(n, height, width, 3) uint8 -> (n, 3, crop, crop) float32."""
        pixels = np.stack([self._square(frame) for frame in frames]).astype(np.float32) / 255.0
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        return torch.from_numpy(((pixels - mean) / std).transpose(0, 3, 1, 2).copy())

    def _square(self, frame: Frames) -> Frames:
        height, width = frame.shape[:2]
        if height == width == self.crop:
            return frame  # scaled and cut while it was decoded
        size = self.shape.scaled(width, height)
        image = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        left, top = (image.width - self.crop) // 2, (image.height - self.crop) // 2
        return np.asarray(image.crop((left, top, left + self.crop, top + self.crop)))


def _read_config(directory: Path) -> dict[str, Any]:
    for name in CONFIG_FILES:
        if (directory / name).exists():
            return _object(directory / name)
    # Newer checkpoints keep all of it in one file.
    combined = directory / "processor_config.json"
    if combined.exists():
        nested = _object(combined)
        for part in ("video_processor", "image_processor"):
            if isinstance(nested.get(part), dict):
                return cast(dict[str, Any], nested[part])
    raise ConfigError(
        f"{directory} holds none of {', '.join(CONFIG_FILES)}",
        cure="Use a llava-hf checkpoint with its preprocessor_config.json.",
    )


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}",
            cure="Copy the checkpoint again; this file is damaged.",
        ) from error
    return found
