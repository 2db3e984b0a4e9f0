"""From a LLaVA-NeXT-Video checkpoint and a Qwen3 language model: a checkpoint for stage 1.

What goes where is decided by names and shapes alone, before anything is written; then each byte is
copied once. The directory appears when it is whole.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    Qwen3Config,
)

from shared.errors import ConfigError, UsageError
from shared.prompts import BASE_PROMPT
from workers.backbone.fresh import drawn, resized
from workers.backbone.tensors import WIDTH, New, Stored, in_shards, stored_in, write_tensors
from workers.backbone.tokens import with_media
from workers.model.configuration import check_unquantized, read_config
from workers.model.ends import check_generation, end_tokens
from workers.model.geometry import UNFIXED, Geometry
from workers.model.preprocess import Preprocessor
from workers.model.tokens import check_tokenizer
from workers.model.weights import INDEX, WHOLE, weight_files, weights_digest

LANGUAGE = "qwen3"
SHARD_BYTES = 5 * 10**9
"""Of a weight file at most, unless a single tensor is larger; as on the hub."""
PADDED_TO = 64
"""The embedding has a multiple of so many rows, as published checkpoints have: products with other
numbers of rows are slower on a card."""
OF_THE_PROCESSOR = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)
PROVENANCE = "provenance.json"
LIBRARIES = ("jamak", "torch", "transformers", "tokenizers")
NAMED = 3
"""Of many that are wrong, so many are named."""

# Old checkpoints and new ones name the parts differently.
_VISION = re.compile(r"(?:model\.)?vision_tower\.(?:vision_model\.)?(.+)")


@dataclass(frozen=True)
class Swapped:
    directory: Path
    parameters: int
    size_bytes: int
    weight_files: int
    vocabulary: int
    added: dict[str, int]
    """Token -> its id."""
    weights_sha256: str


def swap_backbone(
    base: Path, language: Path, into: Path, *, seed: int = 0, shard_bytes: int = SHARD_BYTES
) -> Swapped:
    """Write the checkpoint into a directory that is not there yet.

    Args:
        base: a LLaVA-NeXT-Video checkpoint, of which the vision tower is kept.
        language: a Qwen3 language model with its tokenizer.
        seed: of the projector.

    Raises:
        UsageError: `into` is there already, or its folder is not.
        ConfigError: one of the two is of another kind, quantised, damaged or incomplete, they do
            not fit, or the disk is too small.
    """
    if into.exists():
        raise UsageError(f"{into} exists already", cure="Name another one.", argument="--into")
    if not into.parent.is_dir():
        raise UsageError(f"{into.parent} is no folder", cure="Create it first.", argument="--into")
    text = _language_config(language)
    read_config(base)
    Geometry.read(base)
    Preprocessor.from_pretrained(base)
    vision, words = stored_in(weight_files(base)), stored_in(weight_files(language))
    tokenizer, known, media = with_media(language)
    rows = _rows(text, tokenizer, known)
    config = _config(base, text, rows, tokenizer, media)
    plan = _Plan(config, vision, words, text["vocab_size"], known, media, seed)
    tensors = plan.tensors()
    _check_room(into.parent, tensors)
    ends = end_tokens(tokenizer, _generation(language), rows)
    with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as scratch:
        made = Path(scratch) / into.name
        made.mkdir()
        config.save_pretrained(made)
        tokenizer.save_pretrained(made)
        check_tokenizer(tokenizer, made)
        GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=sorted(ends),
            pad_token_id=tokenizer.pad_token_id,
        ).save_pretrained(made)
        _processor(base, made, config)
        files = _write(made, tensors, shard_bytes)
        told = Swapped(
            directory=into,
            parameters=sum(one.numbers for one in tensors),
            size_bytes=sum(one.size for one in tensors),
            weight_files=files,
            vocabulary=rows,
            added=dict(zip(("<image>", "<video>"), media, strict=True)),
            weights_sha256=weights_digest(made),
        )
        provenance = _provenance(base, language, seed, plan, told)
        (made / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        made.rename(into)
    return told


def _language_config(directory: Path) -> dict[str, Any]:
    """What config.json says, with the defaults of its class.

    Raises:
        ConfigError: it cannot be read, or is of a model that cannot be used.
    """
    file = directory / "config.json"
    cure = "Name a directory of a Qwen3 language model in 16 bits, as save_pretrained makes it."
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        kind = told.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", cure=cure) from error
    if kind != LANGUAGE:
        raise ConfigError(
            f"the language model in {directory} is of type {kind!r}, not {LANGUAGE!r}", cure=cure
        )
    check_unquantized(told)
    try:
        text: dict[str, Any] = Qwen3Config.from_pretrained(directory).to_dict()
    except Exception as error:  # the kinds are many: each class validates in its own way
        said = " ".join(str(error).split())
        raise ConfigError(f"{file} cannot be read: {said}", cure=cure) from error
    if text.get("use_sliding_window"):
        raise ConfigError(
            f"the language model in {directory} looks at a sliding window only",
            cure="Set use_sliding_window to false in its config.json, if it was trained so.",
        )
    rope = (text.get("rope_parameters") or {}).get("rope_type", "default")
    if rope in UNFIXED:
        raise ConfigError(
            f"rope_type is {rope!r}: a caption would depend on those before it and beside it",
            cure="Set a fixed scaling (linear, yarn, llama3) in the language model's config.json.",
        )
    for name in ("architectures", "transformers_version", "_name_or_path", "dtype"):
        text.pop(name, None)
    return text


def _rows(text: Mapping[str, Any], tokenizer: Any, known: int) -> int:
    """Of the embedding. Published language models have rows to spare: then it keeps its size."""
    had, needed = int(text["vocab_size"]), max(tokenizer.get_vocab().values()) + 1
    if known > had:
        raise ConfigError(
            f"the tokenizer has {known} tokens, and the language model rows for {had}",
            cure="Use the tokenizer that belongs to the language model.",
        )
    return had if needed <= had else -(-needed // PADDED_TO) * PADDED_TO


def _config(
    base: Path, text: Mapping[str, Any], rows: int, tokenizer: Any, media: tuple[int, int]
) -> LlavaNextVideoConfig:
    whole = LlavaNextVideoConfig.from_pretrained(base).to_dict()
    for name in ("transformers_version", "_name_or_path", "dtype", "torch_dtype"):
        whole.pop(name, None)
    ids = {
        name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    whole.update(
        architectures=["LlavaNextVideoForConditionalGeneration"],
        text_config={**text, **ids, "vocab_size": rows},
        image_token_index=media[0],
        video_token_index=media[1],
        tie_word_embeddings=bool(text.get("tie_word_embeddings")),
    )
    return LlavaNextVideoConfig.from_dict(whole)


class _Plan:
    """Each tensor of the new checkpoint, and where it comes from."""

    def __init__(
        self,
        config: LlavaNextVideoConfig,
        vision: Mapping[str, Stored],
        words: Mapping[str, Stored],
        had: int,
        known: int,
        media: tuple[int, int],
        seed: int,
    ) -> None:
        self._config, self._seed = config, seed
        self._vision = {
            match[1]: (name, one) for name, one in vision.items() if (match := _VISION.match(name))
        }
        # transformers ties them whatever the file holds.
        self._words = {
            name: one
            for name, one in words.items()
            if not (config.tie_word_embeddings and name == "lm_head.weight")
        }
        self._had, self._known, self._media = had, known, media
        self.fresh: list[str] = []
        self._used: set[str] = set()
        self._lacks: list[str] = []

    def tensors(self) -> list[New]:
        """Raises ConfigError: a weight is missing, has no place, or has another shape."""
        made = [one for name, shape in self._expected() if (one := self._one(name, shape))]
        cure = "Use the config.json that belongs to these weights, and copy all of their files."
        if self._lacks:
            raise ConfigError(
                f"{len(self._lacks)} weights are missing: {_some(self._lacks)}", cure=cure
            )
        held = {*(name for name, _ in self._vision.values()), *self._words}
        if unknown := sorted(held - self._used):
            raise ConfigError(
                f"the new model has no place for {len(unknown)} weights: {_some(unknown)}",
                cure=cure,
            )
        return made

    def _expected(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        with torch.device("meta"):
            model = LlavaNextVideoForConditionalGeneration(self._config)
        for name, tensor in model.state_dict().items():
            if not (self._config.tie_word_embeddings and name == "lm_head.weight"):
                yield name, tuple(tensor.shape)

    def _one(self, name: str, shape: tuple[int, ...]) -> New | None:
        if name == "lm_head.weight":
            return self._table("language_model.lm_head.weight", name, shape)
        part, _, rest = name.removeprefix("model.").partition(".")
        if part == "language_model":
            published, own = f"language_model.model.{rest}", f"model.{rest}"
            if rest == "embed_tokens.weight":
                return self._table(published, own, shape)
            return self._copied(published, own, self._words.get(own), shape)
        if part == "vision_tower":
            own, found = self._vision.get(rest, (f"vision_tower.{rest}", None))
            return self._copied(own, own, found, shape)
        fresh = name.removeprefix("model.")
        self.fresh.append(fresh)
        return drawn(fresh, self._kind, shape, self._seed)

    @property
    def _kind(self) -> str:
        """Of the numbers that are drawn: that of the language model."""
        table = self._words.get("model.embed_tokens.weight")
        return table.kind if table and table.kind in WIDTH else "BF16"

    def _table(self, name: str, own: str, shape: tuple[int, ...]) -> New | None:
        rows, width = shape
        table = self._taken(own, self._words.get(own), (self._had, width))
        if table is None:
            return None
        fresh = [one for one in self._media if one >= self._known]
        return resized(name, table, rows, self._known, fresh)

    def _copied(
        self, name: str, own: str, found: Stored | None, shape: tuple[int, ...]
    ) -> New | None:
        taken = self._taken(own, found, shape)
        return None if taken is None else New(name, taken.kind, shape, taken.whole)

    def _taken(self, own: str, found: Stored | None, shape: tuple[int, ...]) -> Stored | None:
        if found is None:
            self._lacks.append(own)
            return None
        self._used.add(own)
        if found.shape != shape:
            raise ConfigError(
                f"{own} in {found.file} has the shape {found.shape}, and its config.json says "
                f"{shape}",
                cure="Use the config.json that belongs to these weights.",
            )
        if found.kind not in WIDTH:
            raise ConfigError(
                f"{own} in {found.file} is of {found.kind}, which is no kind of weights here",
                cure="Use the checkpoint in 16 bits.",
            )
        return found


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:NAMED], *["…"] * (len(names) > NAMED)])


def _check_room(folder: Path, tensors: list[New]) -> None:
    needed, free = sum(one.size for one in tensors), shutil.disk_usage(folder).free
    if needed > free:
        raise ConfigError(
            f"the weights take {needed / 2**30:.2f} GiB, and {folder} has {free / 2**30:.2f} GiB "
            "free",
            cure="Name a directory on a larger disk.",
        )


def _generation(language: Path) -> GenerationConfig:
    """Of the language model; what ends a text, where it does not say more."""
    check_generation(language)
    if (language / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(language)
    return GenerationConfig()


def _processor(base: Path, made: Path, config: LlavaNextVideoConfig) -> None:
    """How pictures are prepared, as the vision tower was trained."""
    for name in OF_THE_PROCESSOR:
        if (base / name).exists():
            shutil.copyfile(base / name, made / name)
    file = made / "processor_config.json"
    told = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    told.update(
        {"image_token": "<image>", "video_token": "<video>"},
        processor_class="LlavaNextVideoProcessor",
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,  # CLIP's class token
    )
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _write(made: Path, tensors: list[New], shard_bytes: int) -> int:
    """How many weight files there are."""
    shards = in_shards(tensors, shard_bytes)
    if len(shards) == 1:
        write_tensors(made / WHOLE, tensors)
        return 1
    where = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_tensors(made / name, shard)
        where.update({one.name: name for one in shard})
    total = {
        "total_parameters": sum(one.numbers for one in tensors),
        "total_size": sum(one.size for one in tensors),
    }
    index = {"metadata": total, "weight_map": dict(sorted(where.items()))}
    (made / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return len(shards)


def _provenance(
    base: Path, language: Path, seed: int, plan: _Plan, told: Swapped
) -> dict[str, Any]:
    """From what it was made; the same inputs give the same text."""
    return {
        "made_by": "jamak model swap-backbone",
        "base": {"name": base.resolve().name, "weights_sha256": weights_digest(base)},
        "language_model": {
            "name": language.resolve().name,
            "weights_sha256": weights_digest(language),
        },
        "seed": seed,
        "fresh": sorted(plan.fresh),
        "tokens_added": told.added,
        "vocabulary": told.vocabulary,
        "prompt": BASE_PROMPT,
        "weights_sha256": told.weights_sha256,
        "libraries": {name: version(name) for name in LIBRARIES},
    }
