"""Training the shipped model for real: what moves, what stays, what it says afterwards."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from safetensors.torch import load_file

from infra.demo.clips import write_film
from infra.local.stack import DEMO_MODEL
from shared.bucket.registry import ADAPTER_FILES
from shared.errors import BadData
from shared.messages import Decoding
from shared.prompts import BASE_PROMPT
from tests.clips import encoder_of
from tests.tiny_model import make_checkpoint
from tests.training import dpo_rows, fill, make_job, make_row, sft_rows
from workers.model.adapter_files import CONFIG_KEYS
from workers.model.loading import LoadedModel, load_model
from workers.train.adapter import with_adapter
from workers.train.collate import Encoder, PreferenceCollator, SftCollator
from workers.train.data import read_rows
from workers.train.ending import Ending
from workers.train.evaluate import caption_rows, changed, score
from workers.train.row_limits import check_limits
from workers.train.run import train
from workers.train.saving import Saving
from workers.train.sft import train_sft

pytestmark = pytest.mark.model

WEIGHTS = "adapter_model.safetensors"


def _load(*, quantized: bool = False) -> LoadedModel:
    return load_model(DEMO_MODEL, model_id="jamak/tiny", revision="r1", quantized=quantized)


def _encoder(
    loaded: LoadedModel, rows: list[dict[str, Any]], folder: Path, frames: int = 2
) -> Encoder:
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    return encoder_of(loaded, parsed, folder, frames)


def _features(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"prompt": BASE_PROMPT, "video": row["videos"][0]["uri"], "rejected_frames": None, **row}
        for row in rows
    ]


def test_labels_are_the_completion_and_its_end_alone(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    loaded = _load()
    rows = sft_rows(videos)[:2]
    rows[1]["completion"] = "더 긴 문장"
    batch = SftCollator(_encoder(loaded, rows, tmp_path))(_features(rows))
    for labels, row in zip(batch["labels"], rows, strict=True):
        ids = [int(i) for i in labels if i != -100]
        assert ids[-1] == loaded.tokenizer.eos_token_id
        assert loaded.tokenizer.decode(ids[:-1]) == " " + row["completion"]


def test_a_preference_batch_holds_all_chosen_then_all_rejected(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    loaded = _load()
    rows = dpo_rows(videos)[:2]
    batch = PreferenceCollator(_encoder(loaded, sft_rows(videos)[:2], tmp_path))(_features(rows))
    said = [
        loaded.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True).strip()
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert said == [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
    first, second = batch["pixel_values_videos"].chunk(2)
    assert torch.equal(first, second)


def test_a_rejected_text_is_judged_before_the_frames_in_its_order(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    rows = dpo_rows(videos)[:3]
    rows[0]["rejected_frames"], rows[1]["rejected_frames"] = "reversed", "shuffled"
    encoder = _encoder(_load(), sft_rows(videos)[:3], tmp_path, frames=4)
    batch = PreferenceCollator(encoder)(_features(rows))
    clips = encoder.clips.features([row["videos"][0]["uri"] for row in rows])
    turned = [clips[0][[3, 2, 1, 0]], clips[1][[1, 3, 0, 2]], clips[2]]
    assert not torch.equal(clips[0], turned[0])
    assert torch.equal(batch["pixel_values_videos"], torch.cat([*clips, *turned]))
    # And where its likelihood is measured.
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "dpo", BASE_PROMPT)
    for row, clip, order in zip(parsed, clips, turned, strict=True):
        assert torch.equal(encoder.row(row)["pixel_values_videos"], torch.cat([clip, order]))


def test_what_has_one_frame_has_no_other_order(tmp_path: Path) -> None:
    rows = []
    for name, split in (("a0", "train"), ("b0", "eval")):
        path = tmp_path / f"{name}.mp4"
        write_film(path, np.full((1, 48, 80, 3), 90, np.uint8), fps=8)
        row = make_row(name, path, split)
        chosen = row.pop("completion")
        rows.append({**row, "chosen": chosen, "rejected": chosen, "rejected_frames": "reversed"})
    fill(tmp_path / "work", rows)
    with pytest.raises(BadData, match="row 'a0': its video has one frame"):
        train(make_job(stage="dpo"), tmp_path / "work")


def test_rows_of_a_batch_may_differ_in_their_frames(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    """The model joins pixels and visual tokens by their order alone; so each row must get its
    own: its logits are those it has alone."""
    write_film(tmp_path / "파란9.mp4", np.full((1, 48, 80, 3), 90, np.uint8), fps=8)
    loaded = _load()
    rows = [*sft_rows(videos)[:1], make_row("파란9", tmp_path / "파란9.mp4", "train")]
    encoder = _encoder(loaded, rows, tmp_path, frames=4)
    assert [encoder.clips.frames(str(row["videos"][0]["uri"])) for row in rows] == [4, 1]
    together = SftCollator(encoder)(_features(rows))
    with torch.no_grad():
        logits = loaded.model(**together).logits
        for number, feature in enumerate(_features(rows)):
            alone = SftCollator(encoder)([feature])
            length = alone["input_ids"].shape[1]
            expected = loaded.model(**alone).logits[0]
            torch.testing.assert_close(logits[number, :length], expected, atol=1e-4, rtol=1e-4)


def test_sft_moves_the_adapter_and_nothing_else(videos: dict[str, Path], tmp_path: Path) -> None:
    loaded = _load()
    rows = sft_rows(videos)
    job = make_job(steps=5)
    model = with_adapter(loaded, job, None)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    saving = Saving(tmp_path, loaded.identity.weights_sha256, Ending())
    train_sft(model, _encoder(loaded, rows, tmp_path), parsed, job, saving)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    wanted = {
        name
        for name in before
        if ("language_model" in name and "lora_" in name)
        or "multi_modal_projector.modules_to_save" in name
    }
    assert moved == wanted
    layers = loaded.model.config.text_config.num_hidden_layers
    assert len(wanted) == layers * 7 * 2 + 4  # linears x (A, B), and the projector


def test_sft_learns_and_its_adapter_works_in_the_captioner(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    rows = sft_rows(videos)
    folder = tmp_path
    fill(folder, rows)
    result = train(make_job(), folder)
    assert result.metrics["exact_before"] == 0
    assert result.metrics["exact_after"] == 1
    assert result.metrics["chrf_after"] > result.metrics["chrf_before"]
    assert result.metrics["loss_last"] < result.metrics["loss_first"]
    assert (result.metrics["n_train"], result.metrics["n_eval"]) == (9, 3)
    assert result.metrics["n_eval_videos"] == result.metrics["n_better"] == 3
    assert result.metrics["n_worse"] == 0

    assert {path.name for path in (folder / "adapter").iterdir()} == ADAPTER_FILES
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert set(config) == CONFIG_KEYS
    assert config["base_model_name_or_path"] == "jamak/tiny"
    assert str(DEMO_MODEL) not in json.dumps(config)
    assert not [name for name in load_file(folder / "adapter" / WEIGHTS) if "vision" in name]

    loaded = _load()
    encoder = _encoder(loaded, rows, tmp_path)
    model = PeftModel.from_pretrained(loaded.model, folder / "adapter")
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    assert caption_rows(model, encoder, parsed, _ignore) == [row["completion"] for row in rows]


def test_several_captions_of_one_video_are_compared_as_one() -> None:
    def rows(*videos: str) -> str:
        return "\n".join(
            json.dumps({**make_row(f"{i}", video, "eval"), "completion": "고양이가 잡니다."})
            for i, video in enumerate(videos)
        )

    parsed = read_rows(rows("a.mp4", "a.mp4", "b.mp4", "c.mp4"), "sft", BASE_PROMPT)
    before = score(["고양이가 웁니다.", "개가 잡니다.", "개가", "고양이가 잡니다."], parsed)
    after = score(["고양이가 잡니다.", "개가 잡니다.", "새가", "새가 잡니다."], parsed)
    assert set(before.by_video) == {"a.mp4", "b.mp4", "c.mp4"}
    assert before.by_video["c.mp4"] == 100
    # b is as wrong as it was, and c got worse
    assert changed(before, after) == (1, 1)


def test_the_same_job_gives_the_same_bytes(videos: dict[str, Path], tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        fill(folder, sft_rows(videos))
        train(make_job(steps=4), folder)
        made.append([(folder / "adapter" / file).read_bytes() for file in sorted(ADAPTER_FILES)])
    assert made[0] == made[1]


@pytest.mark.parametrize("quantized", [False, True])
def test_dpo_goes_on_from_its_parent_and_prefers_the_chosen(
    videos: dict[str, Path], tmp_path: Path, quantized: bool
) -> None:
    fill(tmp_path / "sft", sft_rows(videos))
    base = train(make_job(steps=6), tmp_path / "sft").base
    folder = tmp_path / "dpo"
    fill(folder, dpo_rows(videos), parent=(tmp_path / "sft" / "adapter", base))
    job = make_job(stage="dpo", start_from="p1", steps=6, learning_rate=1e-3, quantized=quantized)
    result = train(job, folder)
    assert result.metrics["loss_last"] < result.metrics["loss_first"]
    tensors = load_file(folder / "adapter" / WEIGHTS)
    assert not [name for name in tensors if "ref" in name.split(".")]
    assert set(tensors) == set(load_file(tmp_path / "sft" / "adapter" / WEIGHTS))


def test_the_dpo_trainer_hands_the_rows_on_as_they_are(
    videos: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TRL's own preparation would append a second end to every caption."""
    rows, seen = dpo_rows(videos), []
    collate = PreferenceCollator.__call__

    def spy(self: PreferenceCollator, features: Any) -> Any:
        seen.extend(features)
        return collate(self, features)

    monkeypatch.setattr(PreferenceCollator, "__call__", spy)
    fill(tmp_path, rows)
    train(make_job(stage="dpo", steps=1), tmp_path)
    assert {row["chosen"] for row in seen} <= {row["chosen"] for row in rows}


def test_an_adapter_of_other_weights_is_no_parent(videos: dict[str, Path], tmp_path: Path) -> None:
    fill(tmp_path / "sft", sft_rows(videos))
    base = train(make_job(steps=1), tmp_path / "sft").base
    other = base.model_copy(update={"weights_sha256": "0" * 64})
    folder = tmp_path / "next"
    fill(folder, sft_rows(videos), parent=(tmp_path / "sft" / "adapter", other))
    with pytest.raises(BadData, match="trained on jamak/tiny"):
        train(make_job(start_from="p1", steps=1), folder)


def test_a_parent_is_checked_as_what_captioners_load(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    fill(tmp_path / "sft", sft_rows(videos))
    adapter = tmp_path / "sft" / "adapter"
    base = train(make_job(steps=1), tmp_path / "sft").base
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["init_lora_weights"] = "olora"  # it would rewrite the base model
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    folder = tmp_path / "next"
    fill(folder, sft_rows(videos), parent=(adapter, base))
    with pytest.raises(BadData, match="init_lora_weights"):
        train(make_job(start_from="p1", steps=1), folder)


def test_qlora_keeps_the_parent_to_the_last_bit(videos: dict[str, Path], tmp_path: Path) -> None:
    """At a learning rate of nearly nothing the parent comes out again: no rounding to bf16."""
    fill(tmp_path / "sft", sft_rows(videos))
    base = train(make_job(steps=4), tmp_path / "sft").base
    folder = tmp_path / "next"
    fill(folder, sft_rows(videos), parent=(tmp_path / "sft" / "adapter", base))
    train(make_job(start_from="p1", steps=2, learning_rate=1e-12, quantized=True), folder)
    parent = load_file(tmp_path / "sft" / "adapter" / WEIGHTS)
    child = load_file(folder / "adapter" / WEIGHTS)
    for name, tensor in parent.items():
        torch.testing.assert_close(child[name], tensor, atol=1e-9, rtol=0)


@pytest.mark.parametrize("odd", [False, True])
def test_qlora_learns_with_right_gradients_after_an_evaluation(
    videos: dict[str, Path], tmp_path: Path, odd: bool
) -> None:
    """On a CPU with AVX512-BF16 as on every other; and where no width is a multiple of 64, at which
    the packing of such a CPU fails (bitsandbytes 0.50)."""
    rows = sft_rows(videos)
    wide: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 160}
    folder = make_checkpoint(tmp_path / "odd", **wide) if odd else DEMO_MODEL
    loaded = load_model(folder, model_id="jamak/tiny", quantized=True)
    four_bits = [one for one in loaded.model.modules() if isinstance(one, Linear4bit)]
    assert len(four_bits) == 7 * loaded.model.config.text_config.num_hidden_layers
    for linear in four_bits:
        linear.support_avx512bf16_for_cpu = True  # as bitsandbytes finds it there
    encoder = _encoder(loaded, rows, tmp_path)
    torch.manual_seed(0)
    model = with_adapter(loaded, make_job(), None)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at first, and then nothing flows back to lora_A
            torch.nn.init.normal_(parameter, std=0.1)
    batch = SftCollator(encoder)(_features(rows))

    def gradients() -> torch.Tensor:
        model.train()
        model.zero_grad()
        model(**batch).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    before = gradients()
    parsed = read_rows("\n".join(json.dumps(row) for row in rows), "sft", BASE_PROMPT)
    caption_rows(model, encoder, parsed[:1], _ignore)
    assert torch.cosine_similarity(gradients(), before, dim=0) > 0.999


def _ignore(done: int, total: int) -> None:
    pass


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_rows_that_no_worker_could_say_are_refused_by_row(
    videos: dict[str, Path], tmp_path: Path, stage: str
) -> None:
    loaded = _load()
    rows = sft_rows(videos)[:3] if stage == "sft" else dpo_rows(videos)[:3]
    column = "completion" if stage == "sft" else "chosen"

    def check(decoding: Decoding, **changes: str) -> None:
        changed = [rows[0], {**rows[1], **changes}, rows[2]]
        lines = "\n".join(json.dumps(row) for row in changed)
        check_limits(read_rows(lines, stage, BASE_PROMPT), loaded.tokenizer, decoding)

    short, named = Decoding(max_syllables=20), re.escape(repr(rows[1]["id"]))
    check(short)
    check(short, **({} if stage == "sft" else {"rejected": "뚫렸 " * 40}))
    with pytest.raises(BadData, match=f"row {named} has 40 syllables in .* 1 of 3 rows") as found:
        check(short, **{column: "뚫렸 " * 20})
    assert "raise JAMAK_MAX_SYLLABLES" in found.value.cure
    with pytest.raises(BadData) as found:
        check(Decoding(max_new_tokens=20), **{column: "뚫렸 " * 20})
    assert "raise JAMAK_MAX_NEW_TOKENS" in found.value.cure
    check(Decoding(), **{column: "뚫렸 " * 20})
    with pytest.raises(BadData, match=f"row {named} holds '漢'"):
        check(Decoding(language="ko"), **{column: "漢 배경"})
    check(Decoding(), **{column: "漢 배경"})


def test_a_text_that_the_model_could_never_say_is_no_training(
    tmp_path: Path, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.train.sayable.marks", lambda tokenizer: ["빨간"])
    fill(tmp_path, sft_rows(videos))
    with pytest.raises(BadData, match="this model reads 빨간 as a token of its own"):
        train(make_job(steps=1), tmp_path)
