"""Frames to pooled features of the vision tower, before the projector.

Only the layers that are used: LLaVA takes the second last one's output, so the last is never
computed. What comes out depends on pixels and vision weights alone: no adapter changes it.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from workers.caption.engine.linear import linear, two


class VisionTower:
    """Of a LlavaNextVideoModel with one feature layer and the "default" selection, which drops the
    class token."""

    def __init__(self, model: Any) -> None:
        tower, config = model.vision_tower, model.config
        tower = getattr(tower, "vision_model", tower)  # until transformers 5.2x
        self._embeddings, self._norm = _Embeddings(tower.embeddings), tower.pre_layrnorm
        layers = list(tower.encoder.layers)
        chosen = config.vision_feature_layer
        # hidden_states[i] is what layer i gets; the last one is what comes out of all.
        used = chosen if chosen >= 0 else len(layers) + 1 + chosen
        self._layers = [_Layer(layer) for layer in layers[:used]]
        self._pool, self._config = model.vision_resampler, config
        self.patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        """Of a frame."""

    def __call__(self, pixels: torch.Tensor, pool_stride: int | None = None) -> torch.Tensor:
        """(frames, 3, side, side) -> (frames * tokens per frame, vision hidden size).

        Args:
            pool_stride: instead of the checkpoint's, if that is an average or a maximum.
        """
        x = self._norm(self._embeddings(pixels))
        for layer in self._layers:
            x = layer(x)
        pooled: torch.Tensor = self._pool_of(pool_stride)(x[:, 1:])
        return pooled.flatten(0, 1)

    def _pool_of(self, stride: int | None) -> Any:
        if stride in (None, self._config.spatial_pool_stride):
            return self._pool
        config = copy.copy(self._config)
        config.spatial_pool_stride = stride
        return type(self._pool)(config)


class _Embeddings:
    """Of patches that lie side by side: a convolution is then one product of matrices."""

    def __init__(self, embeddings: Any) -> None:
        self._side = embeddings.patch_size
        self._class = embeddings.class_embedding
        self._places = embeddings.position_embedding.weight
        weight = embeddings.patch_embedding.weight.flatten(1)
        layer = nn.Linear(weight.shape[1], len(weight), bias=False, device="meta")
        layer.weight = nn.Parameter(weight, requires_grad=False)
        self._product = linear(layer)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(frames, 3, side, side) -> (frames, 1 + patches, hidden)"""
        frames, side = len(pixels), self._side
        count = pixels.shape[-1] // side
        rows = pixels.reshape(frames, 3, count, side, count, side)
        rows = rows.permute(0, 2, 4, 1, 3, 5).reshape(-1, 3 * side * side)
        patches = self._product(rows).view(frames, -1, self._places.shape[1])
        start = self._class.expand(frames, 1, -1)
        result: torch.Tensor = torch.cat([start, patches], dim=1) + self._places
        return result


class _Layer:
    def __init__(self, layer: Any) -> None:
        attention = layer.self_attn
        self._norm1, self._norm2 = layer.layer_norm1, layer.layer_norm2
        self._qkv = linear(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out = linear(attention.out_proj)
        self._mlp = two(layer.mlp.fc1, layer.mlp.activation_fn, layer.mlp.fc2)
        self._heads, self._scale = attention.num_heads, attention.scale

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(frames, patches, hidden) -> the same."""
        frames, patches, hidden = x.shape
        rows = self._norm1(x).view(frames * patches, hidden)
        qkv = self._qkv(rows).view(frames, patches, 3, self._heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, scale=self._scale)
        seen = seen.transpose(1, 2).reshape(frames * patches, hidden)
        x = self._out(seen).view_as(x).add_(x)
        rows = self._norm2(x).view(frames * patches, hidden)
        return self._mlp(rows).view_as(x).add_(x)
