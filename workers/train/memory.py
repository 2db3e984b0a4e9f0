"""What a training takes of its card's memory, by arithmetic over the sizes of a model.

Which tensors a step keeps was read off autograd (tests/model/test_training_memory.py compares):
the LoRA of every linear layer of the language model keeps what goes into it, and peft makes a copy
of that for each where the model is of 16 bits. Knows nothing of torch, and of what is free.
"""

from dataclasses import dataclass

from shared.rows import Stage
from shared.training import TrainJob
from workers.model.geometry import Geometry

LORA_LINEARS = 7
"""In a layer: q, k, v, o, gate, up, down."""
EXACT = 4
"""Bytes of what is trained, of its gradient, and of each of Adam's two means."""
TILE_TOKENS, TILE_COLUMNS = 4096, 32768
"""Of the logits so many are computed at once (TRL 1.16, trl/kernels/chunked_logprob.py)."""
TILE_COPIES = 7
"""Of such a tile in 32 bits, where there is no Triton: on a CPU."""
EVALUATED = 16
"""Captions at once, at most, when the held-out videos are captioned."""


@dataclass(frozen=True)
class Run:
    """All of a job that decides how much it takes."""

    stage: Stage
    quantized: bool
    frames: int
    prompt_tokens: int
    """Of the longest prompt, without the visual ones."""
    answer_tokens: int
    """Of the longest answer."""
    batch_size: int
    """Rows of one pass."""
    accumulate: int
    """Passes of a step."""
    rank: int
    checkpointing: bool
    """Layers are computed twice, and what they keep is kept for one of them at a time."""
    processes: int = 1
    """Each has all of it, on a card of its own, or on the CPU that they share."""

    @classmethod
    def of(cls, job: TrainJob, prompt_tokens: int, answer_tokens: int, *, on_card: bool) -> "Run":
        checkpointing = job.gradient_checkpointing
        return cls(
            stage=job.stage,
            quantized=bool(job.quantized),
            frames=job.frames,
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            batch_size=job.batch_size,
            accumulate=job.accumulate,
            rank=job.rank,
            checkpointing=on_card if checkpointing is None else checkpointing,
            processes=job.processes,
        )


@dataclass(frozen=True)
class Need:
    """Bytes of one process, at the moment that takes most; of several, of the one that captions."""

    weights: int
    trained: int
    """The adapter, its gradients and Adam's means; with preferences also the frozen copy, and with
    several processes what the gradients are sent from."""
    step: int
    """Beyond these, of a step of training."""
    evaluation: int
    """Beyond these, of captioning what is held out."""

    @property
    def total(self) -> int:
        return self.weights + self.trained + max(self.step, self.evaluation)


def needed(run: Run, geometry: Geometry, number_bytes: int, *, on_card: bool) -> Need:
    """Args:
    number_bytes: of a number of the computation: 2, or 4 on a CPU.
    """
    return Need(
        weights=_weights(run, geometry, number_bytes),
        trained=_trained(run, geometry, number_bytes),
        step=_step(run, geometry, number_bytes, on_card),
        evaluation=_evaluation(run, geometry, number_bytes),
    )


def _weights(run: Run, geometry: Geometry, number_bytes: int) -> int:
    held = geometry.weight_bytes(number_bytes, quantized=run.quantized)
    # In 4 bits one matrix at a time is written out for a product.
    written = geometry.hidden * geometry.intermediate * number_bytes if run.quantized else 0
    return int(held) + written


def _trained(run: Run, geometry: Geometry, number_bytes: int) -> int:
    adapter = geometry.adapter_bytes(run.rank, 1)
    projector = geometry.adapter_bytes(0, 1)
    moved = projector if run.stage == "align" else adapter
    copies = 2 if run.stage in ("dpo", "kto") else 1
    # Autocast makes 16 bits of each LoRA matrix once a step.
    cast = (adapter - projector) * number_bytes if number_bytes != EXACT else 0
    # DDP copies the gradients into buckets of its own before it adds them up.
    sent = moved if run.processes > 1 else 0
    return EXACT * (copies * adapter + 3 * moved + sent) + cast


def _step(run: Run, geometry: Geometry, number_bytes: int, on_card: bool) -> int:
    length = _length(run, geometry)
    rows = run.batch_size * (2 if run.stage == "dpo" else 1)
    tokens = rows * length
    layer = tokens * layer_bytes(geometry, number_bytes, run.rank, length)
    # While a layer is gone through backwards: the gradients of its widest parts.
    back = tokens * number_bytes * (3 * geometry.intermediate + 2 * geometry.hidden)
    if run.checkpointing:
        kept = geometry.layers * tokens * geometry.hidden * number_bytes
        back += layer
    else:
        kept = geometry.layers * layer
    # The last norm's input, and the gradient that comes back from the head.
    ends = tokens * geometry.hidden * (2 * EXACT + number_bytes)
    return kept + ends + max(back, _logits(run, geometry, number_bytes, tokens, on_card))


def _vision(frames: int, geometry: Geometry, number_bytes: int) -> int:
    """Of one clip, before the training; the tower hands out what each of its layers has made."""
    states = (geometry.vision_layers_held + 1) * geometry.patches * geometry.vision_hidden
    return frames * (states * number_bytes + geometry.frame_bytes(number_bytes))


def layer_bytes(geometry: Geometry, number_bytes: int, rank: int, length: int) -> int:
    """What a layer of the language model keeps of a token, for the way back."""
    hidden, inner = geometry.hidden, geometry.intermediate
    heads = geometry.heads * geometry.head_size
    both_norms = 2 * hidden * EXACT  # they compute in 32 bits
    if number_bytes == EXACT:
        inputs = 2 * hidden + heads  # q, k and v share theirs, so do gate and up
        attention = 3 * heads  # what comes out is what goes into o
    else:
        inputs = 5 * hidden + heads  # a copy for each
        attention = 4 * heads
    kept = number_bytes * (inputs + attention + 4 * inner + LORA_LINEARS * rank + length)
    if geometry.head_norms:
        kept += EXACT * (geometry.heads + geometry.kv_heads) * (geometry.head_size + 1)
    return kept + both_norms + EXACT * (geometry.heads + 2)


def _logits(run: Run, geometry: Geometry, number_bytes: int, tokens: int, on_card: bool) -> int:
    if on_card:  # of the answers alone
        rows = run.batch_size * (2 if run.stage == "dpo" else 1)
        return min(rows * run.answer_tokens, TILE_TOKENS) * TILE_COLUMNS * number_bytes
    at_once, columns = min(tokens, TILE_TOKENS), min(geometry.vocabulary, TILE_COLUMNS)
    return at_once * (TILE_COLUMNS * number_bytes + TILE_COPIES * columns * EXACT)


def evaluated_at_once(batch_size: int) -> int:
    """Captions of the evaluation in one batch: what a step has room for is enough for them, too."""
    return min(EVALUATED, batch_size)


def _evaluation(run: Run, geometry: Geometry, number_bytes: int) -> int:
    length, at_once = _length(run, geometry), evaluated_at_once(run.batch_size)
    tokens = at_once * length
    kv = tokens * geometry.kv_values * number_bytes
    # What is kept grows by copying, one layer at a time.
    copied = kv // geometry.layers
    said = at_once * geometry.vocabulary * (EXACT + number_bytes)
    read = tokens * geometry.token_bytes(number_bytes)
    seen = _vision(run.frames, geometry, number_bytes)
    # How likely the texts of one row are: all scores of them, and three copies in 32 bits.
    texts = 2 if run.stage == "dpo" else 1
    scores = texts * run.answer_tokens * geometry.vocabulary * (number_bytes + 3 * EXACT)
    return max(kv + copied + read + said, seen, scores)


def _length(run: Run, geometry: Geometry) -> int:
    """Tokens of the longest row. One that is longer than the model's context is not trained on."""
    visual = run.frames * geometry.tokens_per_frame(geometry.pool_stride)
    return min(visual + run.prompt_tokens + run.answer_tokens, geometry.context)
