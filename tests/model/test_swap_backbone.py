"""Another language model behind a vision tower: whole, exact, and ready for the alignment stage."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    LlavaNextVideoForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from shared.errors import ConfigError, JamakError, UsageError
from tests.clips import Shown
from tests.tokenizers import DEMO, character_tokenizer
from workers.backbone.swap import swap_backbone
from workers.backbone.tensors import Stored
from workers.model.loading import load_model
from workers.model.prompt import BASE_PROMPT, completion_ids, prompt_ids
from workers.model.selfcheck import check_model
from workers.model.weights import INDEX
from workers.train.collate import Encoder, SftCollator

pytestmark = pytest.mark.model

WEIGHTS = "model.safetensors"
SHARDS = tuple(f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
STEPS = 25
SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
}
TALK = [
    {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "무엇이 보입니까?"}]},
    {"role": "assistant", "content": "고양이입니다."},
]


def make_language_model(folder: Path, rows: int | None = None, **sizes: Any) -> Path:
    """Qwen3 in bf16, with a tokenizer that knows neither pictures nor videos.

    Args:
        rows: of its embedding; without it one for each token.
    """
    tokenizer = character_tokenizer(media=[])
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=rows or len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **{**SIZES, **sizes},
    )
    Qwen3ForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_language_model(tmp_path_factory.mktemp("words"), tie_word_embeddings=False)


@pytest.fixture(scope="module")
def swapped(checkpoint: Path, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("swapped") / "new"
    return swap_backbone(checkpoint, words, into).directory


def contents(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def test_it_is_loaded_by_us_and_by_the_stock_class(swapped: Path) -> None:
    loaded = load_model(swapped, model_id="tests/swapped")
    check_model(loaded)
    assert loaded.model.config.text_config.model_type == "qwen3"
    assert loaded.context == SIZES["max_position_embeddings"]
    stock, told = LlavaNextVideoForConditionalGeneration.from_pretrained(
        swapped, output_loading_info=True
    )
    assert [names for names in told.values() if names] == []
    assert stock.dtype == torch.bfloat16
    check_model(load_model(swapped, model_id="tests/swapped", quantized=True))


def test_what_is_kept_is_kept_to_the_last_bit(swapped: Path, checkpoint: Path, words: Path) -> None:
    new, old, told = contents(swapped), contents(checkpoint), contents(words)
    seen = {name: tensor for name, tensor in old.items() if name.startswith("vision_tower.")}
    assert seen
    assert all(torch.equal(new[name], tensor) for name, tensor in seen.items())
    for name, tensor in told.items():
        found = new[f"language_model.{name}"]
        assert found.dtype == torch.bfloat16
        assert torch.equal(found[: len(tensor)], tensor)


def test_without_a_video_it_says_what_the_language_model_says(swapped: Path, words: Path) -> None:
    whole = LlavaNextVideoForConditionalGeneration.from_pretrained(swapped).float()
    alone = Qwen3ForCausalLM.from_pretrained(words).float()
    ids = torch.tensor([[5, 9, 77, 140, 23]])
    with torch.inference_mode():
        said, meant = whole(input_ids=ids).logits, alone(input_ids=ids).logits
    assert torch.equal(said[..., : meant.shape[-1]], meant)


def test_added_tokens_have_rows_that_are_never_the_likeliest(swapped: Path, words: Path) -> None:
    tokenizer = load_model(swapped, model_id="tests/swapped").tokenizer
    known = len(character_tokenizer(media=[]))
    assert [tokenizer.convert_tokens_to_ids(one) for one in ("<image>", "<video>")] == [
        known,
        known + 1,
    ]
    for name in ("model.embed_tokens", "lm_head"):
        table = contents(swapped)[f"language_model.{name}.weight"].float()
        assert len(table) == math.ceil((known + 2) / 64) * 64
        old = contents(words)[f"{name}.weight"].float()
        torch.testing.assert_close(
            table[known:], old.mean(0).expand(len(table) - known, -1), rtol=0.01, atol=1e-4
        )
    scores = table @ torch.randn(table.shape[1], 50)
    assert (scores[known:].max(0).values < scores[:known].max(0).values).all()


def test_rows_to_spare_are_used_and_the_table_keeps_its_size(
    checkpoint: Path, tmp_path: Path
) -> None:
    """As of the published models, which are tied as well if they are small."""
    known = len(character_tokenizer(media=[]))
    words = make_language_model(tmp_path / "words", known + 13, tie_word_embeddings=True)
    told = swap_backbone(checkpoint, words, tmp_path / "new")
    assert told.vocabulary == known + 13
    new = contents(told.directory)
    assert "language_model.lm_head.weight" not in new
    table, old = new["language_model.model.embed_tokens.weight"], contents(words)
    before = old["model.embed_tokens.weight"]
    changed = (table != before).any(1).nonzero().flatten().tolist()
    assert changed == sorted(told.added.values()) == [known, known + 1]
    torch.testing.assert_close(
        table[known].float(), before[:known].float().mean(0), rtol=0.01, atol=1e-4
    )
    check_model(load_model(told.directory, model_id="tests/tied"))


def test_prompt_and_chat_template_give_the_same_ids(swapped: Path) -> None:
    """So those who use the stock classes train on what captions are asked with."""
    tokenizer = load_model(swapped, model_id="tests/swapped").tokenizer
    prompt = "USER: <video>무엇이 보입니까? ASSISTANT:"
    asked = prompt_ids(tokenizer, prompt)
    both = [*asked, *completion_ids(tokenizer, str(TALK[1]["content"]))]
    say = tokenizer.apply_chat_template
    assert say(TALK[:1], add_generation_prompt=True)["input_ids"] == asked
    assert say(TALK)["input_ids"] == both
    answered = [
        TALK[0],
        {"role": "assistant", "content": [{"type": "text", "text": "고양이입니다."}]},
    ]
    assert say(answered)["input_ids"] == both


def test_the_same_seed_gives_the_same_files(
    checkpoint: Path, words: Path, swapped: Path, tmp_path: Path
) -> None:
    again, other = (
        swap_backbone(checkpoint, words, tmp_path / str(seed), seed=seed).directory
        for seed in (0, 1)
    )
    for file in swapped.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    first, second = contents(again), contents(other)
    drawn = {name for name in first if not torch.equal(first[name], second[name])}
    told = json.loads((swapped / "provenance.json").read_text())
    assert drawn == {name for name in told["fresh"] if not name.endswith(".bias")}
    projector = first["multi_modal_projector.linear_2.weight"].float()
    assert projector.std().item() == pytest.approx(1 / math.sqrt(projector.shape[1]), rel=0.05)
    assert told["base"]["weights_sha256"] != told["language_model"]["weights_sha256"]


def test_shards_hold_the_same_and_none_is_too_large(
    checkpoint: Path, words: Path, swapped: Path, tmp_path: Path
) -> None:
    most = 100_000
    told = swap_backbone(checkpoint, words, tmp_path / "new", shard_bytes=most)
    files = sorted(told.directory.glob("*.safetensors"))
    assert told.weight_files == len(files) > 3
    alone = [file for file in files if sum(t.nbytes for t in load_file(file).values()) > most]
    assert [len(load_file(file)) for file in alone] == [1] * len(alone)
    whole, parts = contents(swapped), contents(told.directory)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    check_model(load_model(told.directory, model_id="tests/sharded"))


def sharded(folder: Path, into: Path) -> Path:
    """The same checkpoint in two files, each with every second tensor, and their index."""
    shutil.copytree(folder, into)
    (into / WEIGHTS).unlink()
    found = load_file(folder / WEIGHTS)
    where = {name: SHARDS[number % 2] for number, name in enumerate(sorted(found))}
    for shard in SHARDS:
        part = {name: found[name] for name, file in where.items() if file == shard}
        save_file(part, into / shard, metadata={"format": "pt"})
    (into / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return into


def test_what_is_sharded_makes_the_same_checkpoint_with_one_shard_open_at_a_time(
    checkpoint: Path, words: Path, swapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, language = sharded(checkpoint, tmp_path / "base"), sharded(words, tmp_path / "words")
    rows, seen = Stored.rows, []

    def watched(self: Stored, first: int, end: int) -> Iterator[bytes]:
        for piece in rows(self, first, end):
            links = (Path(one) for one in Path("/proc/self/fd").iterdir())
            opened = [one.resolve() for one in links if one.is_symlink()]
            seen.append([one for one in opened if one.parent in (base, language)])
            yield piece

    monkeypatch.setattr(Stored, "rows", watched)
    made = swap_backbone(base, language, tmp_path / "new").directory
    assert {len(opened) for opened in seen} == {1}
    shards = {shard for folder in (base, language) for shard in folder.glob("*.safetensors")}
    assert {shard for opened in seen for shard in opened} == shards
    assert len(shards) == 4
    told, whole = contents(made), contents(swapped)
    assert told.keys() == whole.keys()
    assert all(torch.equal(told[name], whole[name]) for name in whole)
    (language / SHARDS[1]).unlink()
    (tmp_path / "again").mkdir()
    refused(base, language, tmp_path / "again" / "new", f"lacks {SHARDS[1]}, which {INDEX} names")


def language_model_of(demo: Path, folder: Path) -> Path:
    """The language model of a demo model, alone: it knows <image> and <video> already."""
    folder.mkdir()
    told = json.loads((demo / "config.json").read_text())["text_config"]
    (folder / "config.json").write_text(json.dumps({**told, "tie_word_embeddings": True}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(demo / name, folder / name)
    own = "language_model."
    found = {name.removeprefix(own): one for name, one in contents(demo).items() if own in name}
    save_file(found, folder / WEIGHTS)
    return folder


def test_a_few_steps_align_the_projector(tmp_path: Path) -> None:
    """The demo's vision tower and another one's language model: after a few steps of the projector
    alone they tell colours apart, which neither could before."""
    words = language_model_of(DEMO / "qwen3", tmp_path / "words")
    told = swap_backbone(DEMO / "llama", words, tmp_path / "new")
    demo = AutoTokenizer.from_pretrained(DEMO / "qwen3")
    assert told.added == {one: demo.convert_tokens_to_ids(one) for one in ("<image>", "<video>")}
    assert told.vocabulary == len(demo)
    loaded = load_model(told.directory, model_id="tests/swapped")
    plain = {"빨간": (200, 30, 30), "파란": (30, 30, 200), "초록색": (30, 160, 30)}
    clips = {
        name: loaded.preprocessor(np.full((1, 72, 72, 3), rgb, np.uint8))
        for name, rgb in plain.items()
    }
    collate = SftCollator(Encoder(loaded, Shown(loaded, clips)))

    def batch(shift: int) -> dict[str, torch.Tensor]:
        """Each text with the clip that is so many further on."""
        names = list(plain)
        return collate(
            [
                {
                    "prompt": BASE_PROMPT,
                    "completion": f"{name} 배경에 아무것도 없습니다.",
                    "video": names[(at + shift) % len(names)],
                }
                for at, name in enumerate(names)
            ]
        )

    model = loaded.model.requires_grad_(False)
    projector = model.model.multi_modal_projector.requires_grad_(True)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=6e-3)
    before = model(**batch(0)).loss.item()
    for _ in range(STEPS):
        model(**batch(0)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    right, wrong = (model(**batch(shift)).loss.item() for shift in (0, 1))
    assert right < 0.2 * before
    assert wrong > 3 * right


# --- what does not fit ---------------------------------------------------------------------------


def config(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return edit


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS, metadata={"format": "pt"})

    return edit


def cut(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(10_000)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


ROPE = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
NORM = "model.layers.1.self_attn.q_norm.weight"
VISION = "vision_tower.post_layernorm.weight"
OF_WORDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "llama": (config(model_type="llama"), "is of type 'llama', not 'qwen3'"),
    "quantised": (
        config(quantization_config={"quant_method": "fp8"}),
        "quantised already (quantization_config: fp8)",
    ),
    "dynamic rope": (config(rope_parameters=ROPE), "rope_type is 'dynamic'"),
    "sliding": (config(use_sliding_window=True, sliding_window=64), "sliding window only"),
    "fewer layers": (
        config(num_hidden_layers=1, layer_types=None),
        "no place for 11 weights: model.layers.1.",
    ),
    "more layers": (
        config(num_hidden_layers=3, layer_types=None),
        "11 weights are missing: model.layers.2.",
    ),
    "other width": (config(intermediate_size=128), "has the shape (192, 128), and its config"),
    "other rows": (config(vocab_size=300), "model.embed_tokens.weight in"),
    "few rows": (config(vocab_size=100), "the tokenizer has 259 tokens, and the language model"),
    "a weight less": (weights(lambda found: found.pop(NORM)), f"1 weights are missing: {NORM}"),
    "a weight more": (
        weights(lambda found: found.update(extra=torch.zeros(2))),
        "no place for 1 weights: extra",
    ),
    "integers": (
        weights(lambda found: found.update({NORM: found[NORM].to(torch.int8)})),
        f"{NORM} in",
    ),
    "cut short": (cut, "cannot be read as safetensors"),
    "no weights": (without(WEIGHTS), f"holds no {WEIGHTS}"),
    "no config": (without("config.json"), "config.json cannot be read"),
    "no tokenizer": (without("tokenizer.json"), "holds no tokenizer that can be read"),
}
OF_BASE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "llava": (config(model_type="llava"), "is of a model of type 'llava'"),
    "a weight less": (weights(lambda found: found.pop(VISION)), f"1 weights are missing: {VISION}"),
    "cut short": (cut, "cannot be read as safetensors"),
    "no preprocessor": (without("preprocessor_config.json"), "preprocessor_config.json"),
}


@pytest.mark.parametrize("fault", OF_WORDS)
def test_a_language_model_that_does_not_fit_is_refused_by_name(
    fault: str, checkpoint: Path, words: Path, tmp_path: Path
) -> None:
    spoil, said = OF_WORDS[fault]
    copy = Path(shutil.copytree(words, tmp_path / "words"))
    spoil(copy)
    refused(checkpoint, copy, tmp_path / "new", said)


@pytest.mark.parametrize("fault", OF_BASE)
def test_a_base_that_does_not_fit_is_refused_by_name(
    fault: str, checkpoint: Path, words: Path, tmp_path: Path
) -> None:
    spoil, said = OF_BASE[fault]
    copy = Path(shutil.copytree(checkpoint, tmp_path / "base"))
    spoil(copy)
    refused(copy, words, tmp_path / "new", said)


def refused(base: Path, words: Path, into: Path, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        swap_backbone(base, words, into)
    assert caught.value.cure
    assert [one.name for one in into.parent.iterdir() if "new" in one.name] == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    checkpoint: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 2**20))
    refused(checkpoint, words, tmp_path / "new", "GiB free")


def test_nothing_is_overwritten(checkpoint: Path, words: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        swap_backbone(checkpoint, words, tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        swap_backbone(checkpoint, words, tmp_path / "no" / "new")


def test_what_is_cut_off_leaves_nothing(
    checkpoint: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.backbone.swap.write_tensors", full)
    with pytest.raises((OSError, JamakError)):
        swap_backbone(checkpoint, words, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


# --- memory --------------------------------------------------------------------------------------


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Bytes by which this process has grown at most since the fixture was made."""

    def told(name: str) -> int:
        status = Path("/proc/self/status").read_text()
        return int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) << 10

    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins again
    except OSError:
        pytest.skip("this kernel does not forget a process's peak memory")
    before = told("VmRSS")
    yield lambda: told("VmHWM") - before


def test_memory_does_not_grow_with_the_model(
    checkpoint: Path, tmp_path: Path, peak: Callable[[], int]
) -> None:
    """A language model of 200 MB in two files, in matrices of 67 MB, which are holes in them."""
    known = len(character_tokenizer(media=[]))
    wide = {"hidden_size": 1024, "intermediate_size": 32768, "tie_word_embeddings": True}
    words = make_language_model(tmp_path / "words", known, num_hidden_layers=0, **wide)
    config(num_hidden_layers=1, layer_types=None)(words)
    sparse(words)
    Path("/proc/self/clear_refs").write_text("5")
    told = swap_backbone(checkpoint, words, tmp_path / "new")
    assert told.size_bytes > 200e6
    assert peak() < 50e6


def sparse(folder: Path) -> None:
    """Give two weight files all tensors that its config asks for, of zeros that take no room."""
    settings = Qwen3Config.from_pretrained(folder)
    with torch.device("meta"):
        model = Qwen3ForCausalLM(settings)
    held = {name: one for name, one in model.state_dict().items() if name != "lm_head.weight"}
    where = {name: SHARDS[number % 2] for number, name in enumerate(held)}
    for shard in SHARDS:
        header: dict[str, Any] = {}
        at = 0
        for name in (name for name, file in where.items() if file == shard):
            offsets = [at, at := at + 2 * held[name].numel()]
            shape = list(held[name].shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
        text = json.dumps(header).encode()
        with (folder / shard).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(file.tell() + at)
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
