"""Each stage on the shipped model: what it moves, by which loss, and what is measured of it."""

import json
import math
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.checkpoint import checkpoint

from infra.local.stack import DEMO_MODEL
from shared.errors import BadData
from shared.messages import Decoding
from shared.prompts import BASE_PROMPT
from shared.rows import Row
from shared.stages import LOSSES
from shared.training import TrainJob
from tests.clips import Shown, encoder_of
from tests.training import COLOURS, dpo_rows, fill, kto_rows, make_job, make_row, sft_rows
from workers.model.adapter_files import AdapterShape, read_adapter
from workers.model.loading import LoadedModel, load_model
from workers.train.adapter import with_adapter
from workers.train.collate import Encoder, FeedbackCollator
from workers.train.data import read_rows
from workers.train.ending import Ending
from workers.train.examine import Examined, metrics_of
from workers.train.likelihood import Likely, likelihoods
from workers.train.mix import taught
from workers.train.run import TrainResult, _trainer, train
from workers.train.saving import Saving

pytestmark = pytest.mark.model

WEIGHTS = "adapter_model.safetensors"
ROWS = {"align": sft_rows, "sft": sft_rows, "dpo": dpo_rows, "kto": kto_rows}


@pytest.fixture(scope="module")
def clips(
    videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    rows = read_rows("\n".join(map(json.dumps, sft_rows(videos))), "sft", BASE_PROMPT)
    found: Any = encoder_of(_load(), rows, tmp_path_factory.mktemp("clips")).clips
    try:
        return {row.media.key: found.pixels(row.media.key) for row in rows}
    finally:
        found.close()


def _load(*, quantized: bool = False) -> LoadedModel:
    return load_model(DEMO_MODEL, model_id="jamak/tiny", revision="r1", quantized=quantized)


def _run(
    job: TrainJob, videos: dict[str, Path], clips: dict[str, torch.Tensor], folder: Path
) -> tuple[list[float], dict[str, torch.Tensor], set[str]]:
    """The losses, what was trained, and the names of what moved."""
    lines = "\n".join(map(json.dumps, ROWS[job.stage](videos)))
    return _run_rows(job, read_rows(lines, job.stage, BASE_PROMPT), clips, folder)


def _run_rows(
    job: TrainJob, rows: list[Row], clips: dict[str, torch.Tensor], folder: Path
) -> tuple[list[float], dict[str, torch.Tensor], set[str]]:
    torch.manual_seed(job.seed)
    loaded = _load(quantized=bool(job.quantized))
    model = with_adapter(loaded, job, None)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    saving = Saving(Path(mkdtemp(dir=folder)), "", Ending())
    losses = _trainer(job.stage)(model, Encoder(loaded, Shown(loaded, clips)), rows, job, saving)
    after = {name: p.detach().clone() for name, p in model.named_parameters() if name in before}
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    return losses, {name: after[name] for name in moved}, moved


def test_align_trains_the_projector_alone_and_leaves_an_adapter_as_every_other(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    rows = sft_rows(dict(list(videos.items())[:4]))
    fill(tmp_path / "align", rows)
    result = train(make_job(stage="align", steps=3, rank=4), tmp_path / "align")
    assert result.metrics["logp_after"] > result.metrics["logp_before"]
    adapter = read_adapter("a", tmp_path / "align" / "adapter", AdapterShape.of(_load().model))
    assert not any(t.any() for name, t in adapter.tensors.items() if "lora_B" in name)
    base = dict(_load().model.named_parameters())
    for name, tensor in adapter.tensors.items():
        if "projector" in name:
            assert not torch.equal(tensor, base[name.removeprefix("base_model.model.")])

    # And the next stage goes on from it, the language model too.
    fill(tmp_path / "sft", rows, parent=(tmp_path / "align" / "adapter", result.base))
    train(make_job(start_from="p1", steps=2, rank=16), tmp_path / "sft")
    child = load_file(tmp_path / "sft" / "adapter" / WEIGHTS)
    assert {name: t.shape for name, t in child.items()} == {
        name: t.shape for name, t in adapter.tensors.items()
    }
    assert all(t.any() for name, t in child.items() if "lora_B" in name)


def test_thumbs_move_what_was_liked_up_and_what_was_not_down(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    fill(tmp_path, kto_rows(dict(list(videos.items())[:4])))
    job = make_job(stage="kto", steps=12, learning_rate=3e-3)
    metrics = train(job, tmp_path).metrics
    assert metrics["n_liked"] == metrics["n_disliked"] == metrics["n_eval_videos"] == 1
    assert metrics["liked_risen"] == 1
    gained = metrics["logp_liked_after"] - metrics["logp_liked_before"]
    assert gained > 0
    assert gained > metrics["logp_disliked_after"] - metrics["logp_disliked_before"]


def test_kto_compares_with_captions_of_other_videos(
    videos: dict[str, Path], clips: dict[str, torch.Tensor]
) -> None:
    loaded = _load()
    rows = kto_rows(videos)[:3]
    features = [{**row, "prompt": BASE_PROMPT, "video": row["videos"][0]["uri"]} for row in rows]
    batch = FeedbackCollator(Encoder(loaded, Shown(loaded, clips)), with_kl=True)(features)
    assert batch["label"].tolist() == [True, False, True]

    def said(prefix: str) -> list[str]:
        pairs = zip(batch[f"{prefix}input_ids"], batch[f"{prefix}completion_mask"], strict=True)
        return [
            loaded.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True).strip()
            for ids, mask in pairs
        ]

    own = [row["completion"] for row in rows]
    assert said("") == own
    assert said("KL_") == [own[2], own[0], own[1]]


def test_all_losses_of_dpo_are_added_up_with_their_weights(
    videos: dict[str, Path], clips: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """One step each: the reference is the model itself, so the loss is known beforehand."""

    def first(*losses: str, weights: tuple[float, ...] = (), smoothing: float = 0.0) -> float:
        job = make_job(
            stage="dpo",
            steps=1,
            batch_size=12,
            losses=losses,
            loss_weights=weights,
            label_smoothing=smoothing,
        )
        return _run(job, videos, clips, tmp_path)[0][0]

    sft, log_2 = first("sft"), math.log(2)
    mixed = first("sigmoid", "bco_pair", "sft", weights=(0.8, 0.2, 1.0))
    assert mixed == pytest.approx((0.8 + 0.2 * 2) * log_2 + sft, rel=1e-4)
    epsilon = 0.001
    known = {
        "sigmoid": log_2,
        "hinge": 1,
        "ipo": (1 / (2 * 0.1)) ** 2,
        "nca_pair": 2 * log_2,
        "robust": log_2,
        "bco_pair": 2 * log_2,
        "sppo_hard": 2 * (0.5 / 0.1) ** 2,
        "aot": log_2,
        "aot_unpaired": log_2,
        "apo_zero": 1,
        "apo_down": 1,
        "sigmoid_norm": log_2,
        "discopop": (log_2 + 1) / 2,
        "exo_pair": math.log(0.5) - (math.log(1 - epsilon) + math.log(epsilon)) / 2,
    }
    assert {*known, "sft"} == set(LOSSES["dpo"])
    # Any of them that is not a number would make the sum none.
    assert first(*known, smoothing=epsilon) == pytest.approx(sum(known.values()), rel=1e-5)


@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_the_reference_is_the_adapter_as_it_was_with_its_projector(
    stage: str, videos: dict[str, Path], clips: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    loaded = _load()
    job = make_job(stage=stage, steps=3)
    model = with_adapter(loaded, job, None)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    rows = read_rows("\n".join(map(json.dumps, ROWS[stage](videos))), job.stage, BASE_PROMPT)
    saving = Saving(tmp_path, "", Ending())
    _trainer(job.stage)(model, Encoder(loaded, Shown(loaded, clips)), rows, job, saving)
    after = dict(model.named_parameters())
    copies = {name: p for name, p in after.items() if ".ref" in name}
    assert sum("projector" in name for name in copies) == 4
    for name, copy in copies.items():
        own = name.replace(".ref", ".default")
        assert torch.equal(copy, before[own])
        assert not copy.requires_grad
        assert not torch.equal(after[own], before[own])


def test_a_pair_of_twice_the_same_text_teaches_by_its_likelihood_alone(
    videos: dict[str, Path], clips: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """So are earlier captions replayed by dpo: see workers/train/mix.py."""
    job = make_job(stage="dpo", steps=2)
    captions = read_rows("\n".join(map(json.dumps, sft_rows(videos))), "sft", BASE_PROMPT)
    pairs = [pair for row in captions if (pair := taught(row, job)) is not None]
    both = _run_rows(job, pairs, clips, tmp_path)
    alone = job.model_copy(update={"losses": ("sft",), "loss_weights": (0.5,)})
    one = _run_rows(alone, pairs, clips, tmp_path)
    assert both[0] == pytest.approx([loss + 0.6931 for loss in one[0]], abs=1e-3)
    for name, tensor in one[1].items():
        torch.testing.assert_close(both[1][name], tensor, atol=1e-4, rtol=1e-2)


def test_earlier_rows_are_trained_on_beside_the_new_ones(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Row] = []

    def learn(model: Any, encoder: Encoder, rows: list[Row], *rest: Any) -> list[float]:
        assert all(encoder.clips.frames(row.media.key) for row in rows)
        seen.extend(rows)
        return [1.0]

    monkeypatch.setattr("workers.train.run._trainer", lambda stage: learn)
    rows = sft_rows(dict(list(videos.items())[:4]))
    earlier = [
        {**row, "id": f"before#{row['id']}", "prompt": BASE_PROMPT} for row in sft_rows(videos)[4:6]
    ]
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(b"no video")
    unfit = [
        {**earlier[0], "id": "before#torn", "videos": [{"uri": str(torn)}]},
        {**earlier[0], "id": "before#long", "completion": "뚫렸 " * 60},
    ]
    fill(tmp_path, rows)
    (tmp_path / "replay.jsonl").write_text("\n".join(map(json.dumps, [*unfit, *earlier])))
    result = train(make_job(replay="s3://a/b", replay_share=0.25), tmp_path)
    metrics, (note,) = result.metrics, result.notes
    assert note.startswith("2 of 4 earlier rows are not replayed")
    assert "row 'before#torn': its video cannot be used" in note
    assert (metrics["n_train"], metrics["n_replayed"], metrics["n_eval"]) == (3, 2, 1)
    assert len(seen) == 8  # 2 x 3 new ones
    assert sum(row.id.startswith("before#") for row in seen) == 2


def test_a_job_may_leave_out_what_it_cannot_learn(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.train.run._trainer", lambda stage: lambda *given: [1.0])
    rows = sft_rows(dict(list(videos.items())[:4]))
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(b"no video")
    for unfit in (
        {**rows[0], "id": "long", "completion": "뚫렸 " * 60},
        {**rows[0], "id": "foreign", "completion": "赤い"},
        {**rows[0], "id": "torn", "videos": [{"uri": str(torn)}]},
    ):
        name = str(unfit["id"])
        folders = [tmp_path / f"{name}-{number}" for number in range(3)]
        for folder in folders[:2]:
            fill(folder, [unfit, *rows])
            decoding = Decoding(max_new_tokens=96, language="ko")
            (folder / "captions.json").write_text(decoding.model_dump_json())
        with pytest.raises(BadData, match=f"row '{name}'"):
            train(make_job(), folders[0])
        result = train(make_job(skip_unfit=True), folders[1])
        assert (result.metrics["n_train"], result.metrics["n_eval"]) == (3, 1)
        (note,) = result.notes
        assert note.startswith("1 of 5 rows are left out") and f"row '{name}'" in note
        told = json.loads((folders[1] / "told" / "data.json").read_text())["summary"]
        assert (told["train_rows"], told["held_out_rows"]) == (3, 1)
    others = {**unfit, "id": "again", "videos": [{"uri": f"{torn}.too"}]}
    fill(folders[2], [unfit, others])
    with pytest.raises(BadData, match="2 of 2 rows are left out"):
        train(make_job(skip_unfit=True), folders[2])


def test_a_training_goes_on_only_with_the_rows_that_it_began_with(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    rows = sft_rows(dict(list(videos.items())[:4]))
    job = make_job(steps=2, save_every=1, batch_size=1, skip_unfit=True)
    long = {**rows[1], "completion": "뚫렸 " * 4}

    def run(name: str, tokens: int, checkpoint: Path | None = None) -> tuple[float, bytes]:
        folder = tmp_path / name
        fill(folder, [rows[0], long, *rows[2:]])
        decoding = Decoding(max_new_tokens=tokens)
        (folder / "captions.json").write_text(decoding.model_dump_json())
        if checkpoint is not None:
            shutil.copytree(checkpoint, folder / "checkpoint")
        trained = train(job, folder).metrics["n_train"]
        return trained, (folder / "adapter" / WEIGHTS).read_bytes()

    whole, fewer = run("whole", 96), run("fewer", 20)
    assert (whole[0], fewer[0]) == (3, 2)
    checkpoint = tmp_path / "whole" / "checkpoints" / "1"
    assert run("goes-on", 96, checkpoint) == whole
    assert run("begins-anew", 20, checkpoint) == fewer


def test_what_is_held_out_instead_is_not_replayed(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the manifest holds out is too long, so others are held out, which an earlier
    training learned from under another name."""
    seen: list[list[Row]] = []

    def trained(job: TrainJob, workdir: Path, *given: Any) -> TrainResult:
        seen.extend(given[:2])
        return TrainResult(given[2].loaded.identity, {})

    monkeypatch.setattr("workers.train.run._trained", trained)
    rows = sft_rows(dict(list(videos.items())[:4]))
    for row in rows:
        if row["split"] == "eval":
            row["completion"] = "뚫렸 " * 60
    fill(tmp_path, rows)
    (tmp_path / "replay").mkdir()
    earlier = []
    for row in rows:
        copy = tmp_path / "replay" / f"{row['id']}.mp4"
        shutil.copy(row["videos"][0]["uri"], copy)
        told = {"id": f"old#{row['id']}", "completion": "개", "prompt": BASE_PROMPT}
        earlier.append({**row, **told, "videos": [{"uri": str(copy)}], "split": "train"})
    (tmp_path / "replay.jsonl").write_text("\n".join(map(json.dumps, earlier)))
    result = train(make_job(skip_unfit=True, replay="s3://a/b", replay_share=0.25), tmp_path)
    now, before = seen
    assert "shows what is held out now" in result.notes[-1]
    held_out = {row.id for row in now if row.split == "eval"}
    assert held_out
    assert not held_out & {row.id.removeprefix("old#") for row in before}
    assert len(before) == len(rows) - len(held_out)


def test_pairs_of_an_image_and_a_caption_fit_the_projector(tmp_path: Path) -> None:
    """What stage 1 learns from as a rule; of each format, and one held out."""
    rows = []
    for colour, rgb in COLOURS.items():
        for form in ("jpeg", "png", "webp", "bmp"):
            path = tmp_path / f"{colour}0.{form}"
            Image.new("RGB", (96, 64), rgb).save(path, form)
            row = make_row(f"{colour}0", path, "eval" if form == "bmp" else "train")
            rows.append({"images": row.pop("videos"), **row, "id": path.name})
    fill(tmp_path, rows)
    metrics = train(make_job(stage="align", steps=12, batch_size=9), tmp_path).metrics
    assert (metrics["n_train"], metrics["n_eval_videos"]) == (9, 3)
    assert metrics["loss_last"] < metrics["loss_first"]
    learned = load_file(tmp_path / "adapter" / WEIGHTS)
    assert all(not tensor.any() for name, tensor in learned.items() if "lora_B" in name)
    assert sum("multi_modal_projector" in name for name in learned) == 4


def test_batches_that_are_added_up_are_one_larger_batch(
    videos: dict[str, Path], clips: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    whole = _run(make_job(steps=3, batch_size=6), videos, clips, tmp_path)
    parts = _run(make_job(steps=3, batch_size=2, accumulate=3), videos, clips, tmp_path)
    assert parts[0] == pytest.approx(whole[0], rel=1e-4)
    # Adam's first steps have the size of the learning rate, whatever the gradient's last digits.
    for name, tensor in whole[1].items():
        torch.testing.assert_close(parts[1][name], tensor, atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("stage", ["align", "dpo"])
def test_activations_computed_twice_give_the_same_training(
    stage: str,
    videos: dict[str, Path],
    clips: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = []

    def spy(layer: Any, *args: Any, **kwargs: Any) -> Any:
        layers.append(layer)
        return checkpoint(layer, *args, **kwargs)

    monkeypatch.setattr("transformers.modeling_utils.checkpoint", spy)
    job = make_job(stage=stage, steps=2, batch_size=3)
    kept = _run(job, videos, clips, tmp_path)
    assert layers == []  # of no use on a CPU
    again = job.model_copy(update={"gradient_checkpointing": True})
    twice = _run(again, videos, clips, tmp_path)
    assert layers
    assert twice[0] == kept[0]
    assert twice[2] == kept[2]
    assert all(torch.equal(twice[1][name], tensor) for name, tensor in kept[1].items())


def test_how_likely_a_text_is_takes_no_notice_of_its_neighbour(
    videos: dict[str, Path], clips: dict[str, torch.Tensor]
) -> None:
    loaded = _load()
    encoder = Encoder(loaded, Shown(loaded, clips))
    lines = "\n".join(map(json.dumps, dpo_rows(videos)[:1]))
    (row,) = read_rows(lines, "dpo", BASE_PROMPT)
    ((chosen, rejected),) = likelihoods(loaded.model, encoder, [row], lambda *_: None)
    for text, found in ((row.chosen, chosen), (row.rejected, rejected)):
        prompt, said = encoder.prompt(BASE_PROMPT, row.media.key), encoder.completion(str(text))
        with torch.no_grad():
            logits = loaded.model(
                input_ids=torch.tensor([prompt + said]),
                attention_mask=torch.ones(1, len(prompt + said), dtype=torch.long),
                pixel_values_videos=encoder.features([row.media.key]),
            ).logits[0, len(prompt) - 1 : -1]
        nats = logits.log_softmax(-1)[range(len(said)), said].sum()
        assert found.nats == pytest.approx(float(nats), rel=1e-4)
        assert found.tokens == len(said)


def test_what_is_recorded_of_thumbs_when_no_liked_caption_is_held_out(
    videos: dict[str, Path],
) -> None:
    rows = read_rows("\n".join(map(json.dumps, kto_rows(videos))), "kto", BASE_PROMPT)
    disliked = [row for row in rows if row.label is False][:2]
    old, new = [(Likely(-4, 2),), (Likely(-9, 3),)], [(Likely(-6, 2),), (Likely(-6, 3),)]
    metrics = metrics_of("kto", disliked, Examined([], old), Examined([], new))
    assert (metrics["n_eval"], metrics["n_eval_videos"], metrics["n_liked"]) == (2, 0, 0)
    assert metrics["disliked_fallen"] == 0.5
    assert (metrics["logp_disliked_before"], metrics["logp_disliked_after"]) == (-2.5, -2.5)


def test_what_is_recorded_of_pairs(videos: dict[str, Path]) -> None:
    rows = read_rows("\n".join(map(json.dumps, dpo_rows(videos)[:1])), "dpo", BASE_PROMPT)
    before, after = [(Likely(-8, 2), Likely(-6, 3))], [(Likely(-9, 2), Likely(-12, 3))]
    said = [rows[0].reference]
    metrics: dict[str, Any] = metrics_of("dpo", rows, Examined(said, before), Examined(said, after))
    assert (metrics["margin_before"], metrics["margin_after"]) == (-2, 3)
    assert (metrics["preferred_before"], metrics["preferred_after"]) == (0, 1)
    assert (metrics["logp_chosen_before"], metrics["logp_chosen_after"]) == (-4, -4.5)
    assert (metrics["logp_rejected_before"], metrics["logp_rejected_after"]) == (-2, -4)
