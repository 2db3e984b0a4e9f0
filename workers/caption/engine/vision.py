"""Frames to pooled features of the vision tower, before the projector.

Only the layers that are used: LLaVA takes the second last one's output, so the last is never
computed. What comes out depends on pixels and vision weights alone: no adapter changes it.
"""

from typing import Any

import torch
from torch.nn import functional as F

from workers.caption.engine.linear import linear


class VisionTower:
    """Of a LlavaNextVideoModel with one feature layer and the "default" selection, which drops the
    class token."""

    def __init__(self, model: Any) -> None:
        tower, config = model.vision_tower, model.config
        tower = getattr(tower, "vision_model", tower)  # until transformers 5.2x
        self._embeddings, self._norm = tower.embeddings, tower.pre_layrnorm
        layers = list(tower.encoder.layers)
        chosen = config.vision_feature_layer
        # hidden_states[i] is what layer i gets; the last one is what comes out of all.
        used = chosen if chosen >= 0 else len(layers) + 1 + chosen
        self._layers = [_Layer(layer) for layer in layers[:used]]
        self._pool = model.vision_resampler

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(frames, 3, side, side) -> (frames * tokens per frame, vision hidden size)."""
        x = self._norm(self._embeddings(pixels))
        for layer in self._layers:
            x = layer(x)
        pooled: torch.Tensor = self._pool(x[:, 1:])
        return pooled.flatten(0, 1)


class _Layer:
    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._norm1, self._norm2 = layer.layer_norm1, layer.layer_norm2
        self._qkv = linear(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out = linear(attention.out_proj)
        self._fc1, self._fc2 = linear(mlp.fc1), linear(mlp.fc2)
        self._act = mlp.activation_fn
        self._heads, self._scale = attention.num_heads, attention.scale

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(frames, patches, hidden) -> the same."""
        frames, patches, hidden = x.shape
        rows = self._norm1(x).view(frames * patches, hidden)
        qkv = self._qkv(rows).view(frames, patches, 3, self._heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, scale=self._scale)
        seen = seen.transpose(1, 2).reshape(frames * patches, hidden)
        x = x + self._out(seen).view_as(x)
        rows = self._norm2(x).view(frames * patches, hidden)
        return x + self._fc2(self._act(self._fc1(rows))).view_as(x)
