"""A pass through the language model: a token each of the rows that decode, parts of prompts beside.

Both kinds of tokens go through every weight together; attention (attention.py) is apart.
Llama, Mistral and Qwen3 are one family here: RMSNorm, rotary positions, grouped keys, SwiGLU.
"""

from typing import Any

import torch

from shared.errors import ConfigError
from workers.caption.engine.adapters import AdapterSlots
from workers.caption.engine.attention import Masked, Rows, Seeing
from workers.caption.engine.batch import Batch
from workers.caption.engine.deltas import Whose
from workers.caption.engine.kv import KV
from workers.caption.engine.linear import linear
from workers.caption.engine.transfer import up
from workers.model.geometry import UNFIXED, context_of


class Decoder:
    """Args:
    model: a LlavaNextVideoForConditionalGeneration in eval mode.
    """

    rows_see: type[Rows] = Masked

    def __init__(self, model: Any, adapters: AdapterSlots, positions: int) -> None:
        language = model.model.language_model
        config = language.config
        _check(config)
        self._embed = language.embed_tokens
        self._layers = [
            _Layer(layer, f"model.language_model.layers.{number}", config, adapters)
            for number, layer in enumerate(language.layers)
        ]
        self._norm = _Norm(language.norm)
        self._head = linear(model.lm_head)
        self._adapters = adapters
        self.device, self.dtype = model.device, self._embed.weight.dtype
        places = torch.arange(positions, device=self.device)[None]
        like = torch.empty(1, device=self.device, dtype=self.dtype)
        cos, sin = language.rotary_emb(like, places)
        self._cos = cos[0]
        half = sin.shape[2] // 2
        self._sin = torch.cat((-sin[0, :, :half], sin[0, :, half:]), dim=-1)
        """What turns a first half is subtracted."""
        self.heads, self.query_heads = config.num_key_value_heads, config.num_attention_heads
        self.size = self._cos.shape[1]
        self.layers = len(self._layers)
        self.vocabulary = model.lm_head.out_features

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self._embed(ids)
        return embedded

    def __call__(self, batch: Batch, kv: KV) -> torch.Tensor:
        """Logits (rows + parts with `last`, vocabulary): the decoding rows first."""
        parts = batch.parts
        x = torch.cat([self.embed(batch.tokens), *(part.inputs for part in parts)])
        places = torch.cat([batch.lengths, *(self._range(part.start, part.end) for part in parts)])
        rope = self._cos[places][:, None], self._sin[places][:, None]
        whose = self._whose(batch)
        seeing = Seeing(kv, batch, self.rows_see)
        for layer in self._layers[:-1]:
            x = layer(x, rope, whose, seeing)
        x = self._layers[-1](x, rope, whose, seeing, self._wanted(batch))
        if not len(x):
            return x.new_empty(0, self.vocabulary)
        result: torch.Tensor = self._head(self._norm(x))
        return result

    def _range(self, start: int, end: int) -> torch.Tensor:
        return torch.arange(start, end, device=self.device)

    def _whose(self, batch: Batch) -> Whose | None:
        if batch.slots is None and not any(part.slot for part in batch.parts):
            return None
        slots = batch.tokens.new_zeros(batch.rows) if batch.slots is None else batch.slots
        parts = [slots.new_full((len(part.inputs),), part.slot) for part in batch.parts]
        return self._adapters.whose(torch.cat([slots, *parts]))

    def _wanted(self, batch: Batch) -> torch.Tensor | None:
        """Which tokens' output is of use; None: all. In the last layer all others end as keys and
        values."""
        if not batch.parts:
            return None
        wanted, end = [*range(batch.rows)], batch.rows
        for part in batch.parts:
            end += len(part.inputs)
            if part.last:
                wanted.append(end - 1)
        return up(torch.tensor(wanted, dtype=torch.long), self.device)


def _check(config: Any) -> None:
    """Raises ConfigError: a model that this pass would compute otherwise than transformers does."""
    kind = context_of(vars(config))[1]
    if kind in UNFIXED:
        raise ConfigError(
            f"rope_type is {kind!r}: a caption would depend on those before it and beside it",
            cure="Set a fixed scaling (linear, yarn, llama3) in the checkpoint's config.json.",
        )
    if config.model_type not in ("llama", "mistral", "qwen2", "qwen3"):
        raise ConfigError(
            f"the language model is of type {config.model_type!r}",
            cure="Use a checkpoint on Llama, Vicuna, Mistral, Qwen2 or Qwen3.",
        )
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"} or (
        config.model_type == "mistral" and getattr(config, "sliding_window", None)
    ):
        raise ConfigError(
            "the language model looks at a sliding window only",
            cure="Use a checkpoint with full attention.",
        )


class _Norm:
    """Over the last dimension."""

    def __init__(self, module: Any, weight: torch.Tensor | None = None) -> None:
        self._weight = module.weight if weight is None else weight
        self._epsilon = module.variance_epsilon

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._epsilon)
        result: torch.Tensor = self._weight * wide.to(x.dtype)
        return result


Rope = tuple[torch.Tensor, torch.Tensor]


class _Layer:
    def __init__(self, layer: Any, name: str, config: Any, adapters: AdapterSlots) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._number = attention.layer_idx
        self._norm1 = _Norm(layer.input_layernorm)
        self._norm2 = _Norm(layer.post_attention_layernorm)
        self._act = mlp.act_fn
        self._heads, self._kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._size = attention.head_dim
        self._scale = attention.scaling
        self._qk_norm = self._norm_of_heads(attention) if hasattr(attention, "q_norm") else None

        def both(inside: str, *shorts: str) -> "_Adapted":
            module = getattr(layer, inside)
            layers = [getattr(module, short) for short in shorts]
            names = [f"{name}.{inside}.{short}" for short in shorts]
            return _Adapted(names, layers, adapters)

        self._qkv = both("self_attn", "q_proj", "k_proj", "v_proj")
        self._out = both("self_attn", "o_proj")
        self._gate_up = both("mlp", "gate_proj", "up_proj")
        self._down = both("mlp", "down_proj")

    def __call__(
        self,
        x: torch.Tensor,
        rope: Rope,
        whose: Whose | None,
        seeing: Seeing,
        wanted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(tokens, hidden) -> the same, or only those that are `wanted`."""
        heads = self._qkv(self._norm1(x), whose).view(len(x), -1, self._size)
        qk, v = heads.split_with_sizes([self._heads + self._kv_heads, self._kv_heads], dim=1)
        if self._qk_norm is not None:
            qk = self._qk_norm(qk)
        q, k = _turned(qk, *rope).split_with_sizes([self._heads, self._kv_heads], dim=1)
        seeing.write(self._number, k, v)
        if wanted is None:
            seen = seeing.look(self._number, q, self._scale)
        elif not len(wanted):
            return x[:0]
        else:
            x, q = x[wanted], q[wanted]
            whose = None if whose is None else whose.of(wanted)
            seen = seeing.last(self._number, q, self._scale)
        x = self._out(seen, whose).add_(x)
        gate, up = self._gate_up(self._norm2(x), whose).chunk(2, dim=-1)
        return self._down(self._act(gate).mul_(up), whose).add_(x)

    def _norm_of_heads(self, attention: Any) -> "_Norm":
        """Of q and k in one."""
        each = ((attention.q_norm, self._heads), (attention.k_norm, self._kv_heads))
        weights = [norm.weight.detach().expand(heads, -1) for norm, heads in each]
        return _Norm(attention.q_norm, torch.cat(weights))


class _Adapted:
    """Layers of one input, with what the adapters add."""

    def __init__(self, names: list[str], layers: list[Any], adapters: AdapterSlots) -> None:
        self._base = linear(*layers)
        self._delta = adapters.delta(names, layers)

    def __call__(self, x: torch.Tensor, whose: Whose | None) -> torch.Tensor:
        y = self._base(x)
        if whose is not None:
            self._delta.add(y, x, whose)
        return y


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions: (tokens, heads, size) with (tokens, 1, size) each."""
    return (x * cos).add_(x.roll(x.shape[-1] // 2, -1).mul_(sin))
