"""What configuration files leave unsaid is what transformers makes of it; what they say wrongly is
refused at the start, by name."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import CONFIG_MAPPING, LlavaNextVideoConfig

from shared.cards import CLASSES, CardChoice
from shared.errors import ConfigError
from shared.settings import Settings
from tests.terminal import jamak_here
from tests.tiny_model import make_checkpoint
from workers.caption.fitting import checkpoint_that_fits
from workers.model.configuration import TEXT, VISION, WHOLE
from workers.model.geometry import KNOWN, Geometry
from workers.model.loading import load_model
from workers.model.preprocess import Preprocessor

pytestmark = pytest.mark.model

PUBLIC: dict[str, Any] = {
    "model_type": "llava_next_video",
    "image_token_index": 32001,
    "video_token_index": 32000,
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "llama",
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-05,
        "vocab_size": 32064,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
        "vocab_size": 32000,
    },
}
"""As llava-hf/LLaVA-NeXT-Video-7B-hf says it: no width, layers and heads of the language model."""

Copy = Callable[..., Path]


@pytest.fixture
def spoilt(checkpoint: Path, tmp_path: Path) -> Copy:
    """A sound checkpoint with one file changed, and without its weights: those nobody needs to
    see that it is wrong."""

    def made(name: str, text: str, *, weights: bool = False) -> Path:
        copy = Path(shutil.copytree(checkpoint, tmp_path / "copy", dirs_exist_ok=True))
        if not weights:
            (copy / "model.safetensors").unlink()
        (copy / name).write_text(text)
        return copy

    return made


def refused(folder: Path, named: str, **how: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)) as caught:
        load_model(folder, model_id="tests/spoilt", **how)
    assert caught.value.cure


# --- what is left out ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*TEXT, *VISION, "llava_next_video"])
def test_defaults_are_those_of_transformers(kind: str) -> None:
    whole = WHOLE if kind == "llava_next_video" else TEXT.get(kind) or VISION[kind]
    assert {name: getattr(CONFIG_MAPPING[kind], name) for name in whole} == whole


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("said", [{}, {"hidden_size": 2048, "num_attention_heads": 16}])
def test_what_a_config_leaves_out_is_as_transformers_reads_it(
    kind: str, said: dict[str, int]
) -> None:
    config = {"text_config": {"model_type": kind, **said}, "vision_config": {}}
    read = LlavaNextVideoConfig(**json.loads(json.dumps(config))).to_dict()
    assert Geometry.from_config(config) == Geometry.from_config(read)


def test_either_of_two_places_ties_the_head() -> None:
    for whole, text in ((False, True), (True, False), (False, False)):
        config = {
            "tie_word_embeddings": whole,
            "text_config": {"tie_word_embeddings": text},
            "vision_config": {},
        }
        read = LlavaNextVideoConfig(**json.loads(json.dumps(config)))
        assert Geometry.from_config(config).tied is read.tie_word_embeddings


def test_the_published_config_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLIC))
    assert Geometry.read(tmp_path) == KNOWN["vicuna-7b"]
    said = jamak_here(monkeypatch, "plan", "--card", "l4", "--model", str(tmp_path), "--json")
    assert (said.code, json.loads(said.out)["classes"][0]["class"]) == (0, "l4")


def test_a_checkpoint_that_says_only_what_is_no_default_starts(tmp_path: Path) -> None:
    """Heads, layers and positions are those of LlamaConfig."""
    folder = make_checkpoint(
        tmp_path,
        num_attention_heads=32,
        num_key_value_heads=32,
        num_hidden_layers=32,
        max_position_embeddings=2048,
    )
    told = json.loads((folder / "config.json").read_text())
    left = ("num_attention_heads", "num_key_value_heads", "num_hidden_layers")
    for name in (*left, "max_position_embeddings", "head_dim", "rope_parameters"):
        del told["text_config"][name]
    for name in ("spatial_pool_stride", "vision_feature_layer", "image_seq_length"):
        del told[name]
    (folder / "config.json").write_text(json.dumps(told))
    choice = CardChoice(CLASSES["cpu"], "cpu", "float32", "asked for")
    found = checkpoint_that_fits(Settings(model_path=folder), choice)
    loaded = load_model(folder, model_id="tests/diff", tokenizer=found.tokenizer)
    assert found.plan.geometry.layers == len(loaded.model.model.language_model.layers) == 32
    assert found.plan.geometry.context == loaded.context == 2048
    counted = found.plan.geometry.language_weights
    linears = loaded.model.model.language_model.layers.parameters()
    assert counted == sum(one.numel() for one in linears if one.ndim == 2)


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [None, "text_config"])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize(
    "told",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "gptq", "bits": 4},
    ],
    ids=lambda told: told["quant_method"],
)
def test_a_checkpoint_in_few_bits_already_is_refused_by_its_method(
    checkpoint: Path, spoilt: Copy, told: dict[str, Any], quantized: bool, part: str | None
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (config[part] if part else config)["quantization_config"] = told
    copy = spoilt("config.json", json.dumps(config))
    refused(copy, f"quantization_config: {told['quant_method']}", quantized=quantized)
    with pytest.raises(ConfigError, match="quantised already"):
        Geometry.read(copy)


@pytest.mark.parametrize(
    ("part", "name", "value", "named"),
    [
        (None, "model_type", "llava_next", "of type 'llava_next'"),
        (None, "spatial_pool_stride", 0, "spatial_pool_stride is 0"),
        (None, "vision_feature_layer", [-2, -5], "how large the model is"),
        (None, "image_grid_pinpoints", 3, "image_grid_pinpoints"),
        (None, "text_config", [], "how large the model is"),
        ("text_config", "model_type", "gemma", "the language model is of type 'gemma'"),
        ("text_config", "hidden_size", "64", "hidden_size is '64'"),
        ("text_config", "num_attention_heads", 0, "num_attention_heads is 0"),
        ("text_config", "eos_token_id", "x", "eos_token_id"),
        ("vision_config", "model_type", "siglip_vision_model", "the vision tower is of type"),
        ("vision_config", "image_size", [48, 48], "image_size is [48, 48]"),
    ],
)
def test_a_config_that_no_model_can_be_made_of_is_refused_by_the_value(
    checkpoint: Path, spoilt: Copy, part: str | None, name: str, value: object, named: str
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (config[part] if part else config)[name] = value
    refused(spoilt("config.json", json.dumps(config)), named)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_file_that_is_no_config_is_refused_by_its_name(
    spoilt: Copy, name: str, text: str
) -> None:
    copy = spoilt(name, text)
    refused(copy, f"{copy / name} cannot be read")


def test_so_is_one_of_the_preprocessor(spoilt: Copy) -> None:
    copy = spoilt("processor_config.json", "{")
    (copy / "preprocessor_config.json").write_text("[]")
    for name in ("preprocessor_config.json", "processor_config.json"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            Preprocessor.from_pretrained(copy)
        (copy / name).unlink()


@pytest.mark.parametrize("end", [-1, 99_999, "x", "12", [2, 99_999], [[2]], True, 2.0])
def test_an_end_that_is_no_token_of_the_model_is_refused(spoilt: Copy, end: object) -> None:
    copy = spoilt("generation_config.json", json.dumps({"eos_token_id": end}), weights=True)
    wrong = end[-1] if isinstance(end, list) else end
    refused(copy, f"the end token {wrong!r} is none of the model's")


def test_so_is_one_that_config_json_names(checkpoint: Path, spoilt: Copy) -> None:
    """transformers takes the ends from there, where there is no generation_config.json."""
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["eos_token_id"] = -1
    copy = spoilt("config.json", json.dumps(config), weights=True)
    (copy / "generation_config.json").unlink()
    refused(copy, "the end token -1 is none of the model's")
