"""Checkpoints that are not what they seem: refused at the start, by name; and what of their
generation config counts."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from shared.cards import CLASSES
from shared.errors import ConfigError
from shared.messages import Decoding
from shared.rows import Row
from tests.clips import Shown
from tests.engines import Make, asked
from tests.tokenizers import piece_tokenizer
from workers.caption.captioner import Answer, EngineCaptioner
from workers.caption.engine.requests import Request, Said
from workers.caption.engine.sampling import Sampling
from workers.model.checkpoint import find_checkpoint
from workers.model.loading import LoadedModel, load_model
from workers.model.prompt import BASE_PROMPT, prompt_ids, text_of
from workers.model.tokens import check_tokenizer
from workers.progress import Progress
from workers.train.collate import Encoder
from workers.train.evaluate import caption_rows

pytestmark = pytest.mark.model

WEIGHTS = "model.safetensors"
QUERY = "language_model.model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """Of a sound checkpoint, to be spoilt."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    found = load_file(folder / WEIGHTS)
    edit(found)
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})


def settings(file: Path, **values: Any) -> None:
    """None: without it."""
    told = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: one for name, one in told.items() if one is not None}))


def refused(folder: Path, named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)) as caught:
        load_model(folder, model_id="tests/spoilt")
    assert caught.value.cure


# --- weights -------------------------------------------------------------------------------------


def test_weights_that_are_missing_are_refused_by_name(copy: Path) -> None:
    weights(copy, lambda found: found.pop(QUERY))
    refused(copy, "lacks 1 weights: model.language_model.layers.0.self_attn.q_proj.weight")


def test_weights_of_another_shape_are_refused_with_both(copy: Path) -> None:
    weights(copy, lambda found: found.update({QUERY: found[QUERY][:32].clone()}))
    refused(copy, "layers.0.self_attn.q_proj.weight has the shape (32, 64), and the model wants")


def test_weights_that_have_no_place_are_refused(copy: Path) -> None:
    """The config of a smaller model: half of this one would caption."""
    text = json.loads((copy / "config.json").read_text())["text_config"]
    settings(copy / "config.json", text_config={**text, "num_hidden_layers": 1})
    refused(copy, "no place for 9 weights of the checkpoint: model.language_model.layers.1.")


def test_a_directory_without_safetensors_has_no_identity(copy: Path) -> None:
    torch.save(load_file(copy / WEIGHTS), copy / "pytorch_model.bin")
    (copy / WEIGHTS).rename(copy / "adapter_model.safetensors")
    refused(copy, f"holds no {WEIGHTS}")


def test_weights_cut_short_are_refused_by_their_file(copy: Path) -> None:
    file = copy / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1])
    refused(copy, f"{file} cannot be read as safetensors")


def test_a_shard_that_is_missing_is_named(loaded: LoadedModel, copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    loaded.model.save_pretrained(copy, max_shard_size="200KB")
    identity = load_model(copy, model_id="tests/shards").identity
    assert identity.weights_sha256 != loaded.identity.weights_sha256
    shard = sorted(copy.glob("*.safetensors"))[1]
    shard.unlink()
    refused(copy, f"lacks {shard.name}")


def test_an_index_that_names_nothing_is_refused(copy: Path) -> None:
    (copy / WEIGHTS).rename(copy / "some.safetensors")
    (copy / f"{WEIGHTS}.index.json").write_text("[]")
    refused(copy, "index.json cannot be read")


# --- what ends a caption, and what else has a say ------------------------------------------------


FRAMES = np.random.default_rng(3).integers(0, 255, (2, 60, 80, 3), dtype=np.uint8)
DECODING = Decoding(max_new_tokens=24)


def said(make: Make, loaded: LoadedModel) -> Said:
    """By the engine."""
    ids = loaded.layout.expand(prompt_ids(loaded.tokenizer, BASE_PROMPT), videos=[len(FRAMES)])
    samplings = (Sampling(DECODING.max_new_tokens),)
    request = Request(tuple(ids), loaded.preprocessor(FRAMES), samplings=samplings)
    return asked(make(model=loaded), request)[0]


def caption(loaded: LoadedModel) -> Answer:
    """A worker's."""
    captioner = EngineCaptioner(loaded, CLASSES["cpu"])
    try:
        return captioner.caption(FRAMES, BASE_PROMPT, DECODING, Progress())
    finally:
        captioner.engine.close()


def evaluated(loaded: LoadedModel) -> str:
    """As a training measures itself."""
    encoder = Encoder(loaded, Shown(loaded, {"v": loaded.preprocessor(FRAMES)}))
    row = Row.model_validate(
        {"id": "a", "videos": [{"uri": "v"}], "prompt": BASE_PROMPT, "completion": "a" * 6}
    )
    [text] = caption_rows(loaded.model, encoder, [row], lambda *_: None)
    return text


def test_each_end_token_of_the_checkpoint_ends_a_caption(
    loaded: LoadedModel, make: Make, copy: Path
) -> None:
    """The tokenizer's and those of generation_config.json; captioner, engine and evaluation."""
    tokens = said(make, loaded).tokens
    assert len(tokens) == DECODING.max_new_tokens
    assert not caption(loaded).finished
    at = next(at for at in range(4, len(tokens)) if tokens[at] not in tokens[:at])
    settings(copy / "generation_config.json", eos_token_id=[tokens[at]])
    ended = load_model(copy, model_id="tests/ends")
    assert ended.ends == {loaded.tokenizer.eos_token_id, tokens[at]}
    assert (said(make, ended).tokens, said(make, ended).ended) == (tokens[: at + 1], "eos")
    answer = caption(ended)
    assert answer.finished
    assert answer.text == evaluated(ended) == text_of(loaded.tokenizer, [*tokens[:at]])


def test_nothing_else_of_a_generation_config_changes_a_caption(
    loaded: LoadedModel, make: Make, copy: Path
) -> None:
    tokens = said(make, loaded).tokens
    settings(
        copy / "generation_config.json",
        repetition_penalty=9.0,
        no_repeat_ngram_size=1,
        suppress_tokens=[*tokens],
        min_new_tokens=1,
        num_beams=3,
        do_sample=True,
        temperature=3.0,
        max_length=20,
        _from_model_config=None,
    )
    other = load_model(copy, model_id="tests/recipe")
    assert said(make, other).tokens == tokens
    assert caption(other).text == caption(loaded).text
    assert evaluated(other) == evaluated(loaded)


def test_a_tokenizer_that_names_no_end_is_refused(copy: Path) -> None:
    settings(copy / "tokenizer_config.json", eos_token=None)
    refused(copy, "no eos_token")


# --- the tokenizer -------------------------------------------------------------------------------


def saved(folder: Path, **flags: Any) -> Any:
    """A tokenizer as of Llama, saved when `legacy` was true, and read with these flags."""
    piece_tokenizer().save(str(folder / "tokenizer.json"))
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**named, **flags}))
    return AutoTokenizer.from_pretrained(folder)


def test_a_tokenizer_as_it_was_saved_is_taken(tmp_path: Path) -> None:
    check_tokenizer(saved(tmp_path, tokenizer_class="LlamaTokenizer", legacy=True), tmp_path)


@pytest.mark.parametrize("flags", [{"legacy": False}, {}])
def test_a_legacy_flag_that_changes_ids_is_refused(tmp_path: Path, flags: dict[str, Any]) -> None:
    tokenizer = saved(tmp_path, tokenizer_class="LlamaTokenizer", **flags)
    with pytest.raises(ConfigError, match="other ids than tokenizer") as caught:
        check_tokenizer(tokenizer, tmp_path)
    assert "legacy False" in str(caught.value)
    assert "legacy" in caught.value.cure


def test_a_class_that_gives_an_answer_other_ids_alone_is_refused(tmp_path: Path) -> None:
    tokenizer = saved(tmp_path, tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(ConfigError, match="apart than together") as caught:
        check_tokenizer(tokenizer, tmp_path)
    assert "▁▁" in str(caught.value)


def test_a_tokenizer_that_cannot_be_read_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    refused(copy, "holds no tokenizer that can be read")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    refused(copy, "holds no tokenizer that can be read")


def test_such_a_checkpoint_does_not_start(copy: Path) -> None:
    file = copy / "tokenizer.json"
    told = json.loads(file.read_text())
    told["normalizer"] = {"type": "Prepend", "prepend": " "}
    file.write_text(json.dumps(told))
    refused(copy, "apart than together")


def test_a_checkpoint_is_looked_for_where_it_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no config"):
        find_checkpoint("m", "r", tmp_path)


def test_a_cpu_captions_in_bfloat16(checkpoint: Path) -> None:
    loaded = load_model(checkpoint, model_id="tests/bf16", dtype="bfloat16")
    answer = caption(loaded)
    assert answer.generated_tokens == DECODING.max_new_tokens
    assert {one.dtype for one in loaded.model.parameters()} == {torch.bfloat16}
