"""What a training takes on known cards: what fits, what is refused, and with what cure."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cards import CLASSES, GPU_CLASSES, Gpu
from shared.errors import DoesNotFit
from shared.messages import Decoding
from shared.rows import Row
from shared.settings import CardName, Settings
from shared.training_defaults import STAGES
from tests.terminal import jamak_here
from tests.training import make_job
from workers.caption.machines import GIB, Machine, machine_of
from workers.model.geometry import KNOWN, Geometry
from workers.model.syllables import longest
from workers.train.fitting import (
    LIBRARIES,
    check,
    check_fits,
    longest_texts,
    options,
    trainer,
    usable,
)
from workers.train.memory import Need, Run, needed

SHORT = Decoding(max_syllables=100)
VICUNA, QWEN, YI = (KNOWN[name] for name in ("vicuna-7b", "qwen3-8b", "yi-34b"))
SFT = Run(
    stage="sft",
    quantized=False,
    frames=4,
    prompt_tokens=40,
    answer_tokens=300,
    batch_size=8,
    accumulate=1,
    rank=16,
    checkpointing=True,
)


def need(run: Run, geometry: Geometry = VICUNA) -> Need:
    return needed(run, geometry, 2, on_card=True)


@pytest.mark.parametrize(
    ("card", "run", "fits"),
    [
        ("t4", SFT, False),  # 13.2 GiB of weights alone
        ("t4", replace(SFT, quantized=True), True),
        ("t4", replace(SFT, quantized=True, stage="dpo"), False),
        ("t4", replace(SFT, quantized=True, stage="dpo", batch_size=4), True),
        ("l4", SFT, True),
        ("l4", replace(SFT, stage="dpo"), False),
        ("l4", replace(SFT, stage="dpo", quantized=True), True),
        ("a100", replace(SFT, stage="dpo"), True),
        ("a100", replace(SFT, checkpointing=False), False),
        ("h100", replace(SFT, checkpointing=False), True),
        ("h100", replace(SFT, checkpointing=False, stage="dpo"), False),
        ("h100", replace(SFT, frames=32), True),
    ],
)
def test_what_fits_the_7b_model(card: CardName, run: Run, fits: bool) -> None:
    machine = machine_of(CLASSES[card])
    if fits:
        assert check(run, VICUNA, machine) == need(run)
        return
    with pytest.raises(DoesNotFit, match=r"the training takes \d+\.\d+ GiB: ") as caught:
        check(run, VICUNA, machine)
    assert caught.value.cure.startswith("This fits: ")


def test_the_parts_are_those_that_can_be_counted() -> None:
    """Of Vicuna-7B: 7.06 billion weights; LoRA of rank 16 has 40.0 million, the projector 21.0."""
    plain, dpo = need(SFT), need(replace(SFT, stage="dpo"))
    assert plain.weights / 2 == pytest.approx(7.06e9, rel=0.01)
    assert need(replace(SFT, quantized=True)).weights == pytest.approx(4.29 * GIB, rel=0.01)
    assert plain.trained == pytest.approx((16 * 61.0e6) + 2 * 40.0e6, rel=0.01)
    assert dpo.trained - plain.trained == pytest.approx(4 * 61.0e6, rel=0.01)  # the frozen copy
    aligned = need(replace(SFT, stage="align"))
    assert plain.trained - aligned.trained == pytest.approx(12 * 40.0e6, rel=0.01)
    # 916 positions of 512 KiB each, and what one layer copies of them.
    kv = 8 * 916 * 2**19
    assert plain.evaluation == pytest.approx(kv + kv / 32 + 8 * 916 * 2 * 65792, rel=0.01)
    kept = 32 * 8 * 916 * 4096 * 2
    assert plain.step > kept
    assert need(replace(SFT, checkpointing=False)).step > 5 * plain.step


def test_options_keep_the_rows_of_a_step_and_each_of_them_fits() -> None:
    run = replace(SFT, stage="dpo", batch_size=6)
    found = list(options(run, VICUNA, machine_of(CLASSES["l4"])))
    assert [one.how for one in found] == [
        "--batch-size 3 --accumulate 2",
        "--quantized",
        "--frames 3",
        "class a100",
    ]
    most = usable(machine_of(CLASSES["l4"])) or 0
    assert all(one.need.total <= most for one in found[:-1])
    assert all(one.why for one in found)


def test_where_one_is_not_enough_several_are_named_together() -> None:
    run = replace(SFT, stage="dpo", checkpointing=False)
    (together,) = options(run, VICUNA, machine_of(CLASSES["t4"]))
    assert together.how == "--batch-size 4 --accumulate 2 --gradient-checkpointing --quantized"


def test_what_no_card_holds_says_so() -> None:
    with pytest.raises(DoesNotFit) as caught:
        check(replace(SFT, batch_size=1), YI, Machine(8 * GIB, "bfloat16", quantized=False))
    assert caught.value.cure == "This fits: class h100 (68.90 GiB)."
    huge = replace(YI, layers=500)
    with pytest.raises(DoesNotFit) as caught:
        check(SFT, huge, Machine(8 * GIB, "bfloat16", quantized=False))
    assert caught.value.cure == "No class of cards holds it: choose a smaller model."


@given(
    st.builds(
        Run,
        stage=st.sampled_from(["align", "sft", "dpo", "kto"]),
        quantized=st.booleans(),
        frames=st.integers(1, 32),
        prompt_tokens=st.integers(1, 500),
        answer_tokens=st.integers(1, 1000),
        batch_size=st.integers(1, 32),
        accumulate=st.integers(1, 8),
        rank=st.sampled_from([4, 16, 64]),
        checkpointing=st.booleans(),
        processes=st.integers(1, 4),
    ),
    st.sampled_from([VICUNA, QWEN, YI]),
)
def test_more_never_takes_less_and_what_is_offered_fits(run: Run, geometry: Geometry) -> None:
    whole = needed(run, geometry, 2, on_card=True).total
    for fewer in (
        replace(run, batch_size=max(1, run.batch_size // 2)),
        replace(run, frames=max(1, run.frames - 1)),
        replace(run, checkpointing=True),
        replace(run, quantized=True),
        replace(run, processes=1),
    ):
        assert needed(fewer, geometry, 2, on_card=True).total <= whole + GIB // 8
    for name in GPU_CLASSES:
        machine = machine_of(CLASSES[name])
        try:
            check(run, geometry, machine)
        except DoesNotFit as error:
            assert error.cure
            found = list(options(run, geometry, machine))
            on_it = [one for one in found if not one.how.startswith("class ")]
            assert all(one.need.total <= (usable(machine) or 0) for one in on_it)


def test_what_this_worker_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(output="s3://out/")
    cpu = trainer(settings.model_copy(update={"device": "cpu"}))
    assert cpu.memory is None
    assert cpu.dtype == "float32"
    most = usable(cpu)
    assert most is not None
    auto = settings.model_copy(update={"device": "auto"})
    for gpu, dtype in ((Gpu("Tesla T4", 15.0, 7.5), "float16"), (Gpu("L4", 22.2, 8.9), "bfloat16")):
        monkeypatch.setattr("workers.train.fitting.detect_gpu", lambda gpu=gpu: gpu)
        machine = trainer(auto)
        assert (machine.dtype, machine.memory) == (dtype, int(gpu.memory_gib * GIB))
    monkeypatch.setattr("workers.train.fitting.detect_gpu", lambda: Gpu("?", None, None))
    assert usable(trainer(auto)) is None


def test_plan_shows_what_a_training_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in STAGES:
        done = jamak_here(monkeypatch, "plan", "--model", "vicuna-7b", "--train", stage, "--json")
        assert done.code == 0, done.err
        told = json.loads(done.out)
        takes = [one["takes_bytes"] for one in told["classes"]]
        assert all(a == b for a, b in pairwise(takes))
        assert [one["fits"] for one in told["classes"]] == sorted(
            one["fits"] for one in told["classes"]
        )
        assert all(one["would_fit"] for one in told["classes"] if not one["fits"])
    done = jamak_here(monkeypatch, "plan", "--model", "vicuna-7b", "--train", "dpo")
    assert "t4: --batch-size 4 --accumulate 2" in done.out
    done = jamak_here(monkeypatch, "plan", "--model", "vicuna-7b", "--train", "align")
    assert "t4: class a100" in done.out  # and not in 4 bits
    assert "--quantized" not in done.out
    wrong = jamak_here(monkeypatch, "plan", "--train", "rlhf")
    assert wrong.code == 2
    assert "'rlhf' is no stage of training" in wrong.err


def test_texts_are_rather_counted_too_long() -> None:
    row = Row(
        id="a",
        videos=({"uri": "a.mp4"},),  # type: ignore[arg-type]
        prompt="USER: <video>무엇? ASSISTANT:",
        chosen="고양이",
        rejected="고양이와 개 2마리",
    )
    prompt, answer = longest_texts([row], [], "vicuna-7b", SHORT)
    assert prompt > len("USER: 무엇? ASSISTANT:")
    assert answer >= 3.15 * 7


def row_of(text: str, **columns: Any) -> Row:
    told = {"id": text[:9], "videos": [{"uri": "a.mp4"}], "prompt": "USER: <video> ASSISTANT:"}
    return Row.model_validate({**told, "completion": text, **columns})


def test_replayed_rows_count_as_far_as_they_can_be_trained_on() -> None:
    """Those whose texts no caption could hold any more are left out later."""
    mine, longer, too_long = (row_of("가" * n) for n in (10, 50, 1000))
    own, _, _ = lengths = [
        longest_texts([mine], earlier, "vicuna-7b", SHORT)[1]
        for earlier in ([], [longer], [too_long])
    ]
    assert lengths == sorted(set(lengths))
    assert own < lengths[1] < lengths[2] == longest(SHORT, 3.15)
    disliked = row_of("가" * 1000, label=False)  # it may be anything
    assert longest_texts([mine], [disliked], "vicuna-7b", SHORT)[1] > 3000
    asks = row_of("가", prompt=f"USER: <video> {'가' * 500} ASSISTANT:")
    assert longest_texts([mine], [asks], "vicuna-7b", SHORT)[0] > 1500


T4 = Machine(int(15.0 * GIB), "float16", quantized=False)
PUBLISHED = "llava-hf/LLaVA-NeXT-Video-7B-hf"


def test_a_job_is_planned_with_what_it_replays_and_goes_on_from() -> None:
    settings = Settings(output="s3://out/", model=PUBLISHED)
    job = make_job(quantized=True, frames=4, batch_size=8, rank=16)
    rows, earlier = [row_of("고양이가 잡니다.")], [row_of("가" * 100)]
    assert check_fits(job, settings, T4, rows) is None
    with pytest.raises(DoesNotFit):
        check_fits(job.model_copy(update={"rank": 256}), settings, T4, rows)
    long = settings.model_copy(update={"max_syllables": 600})
    assert check_fits(job, long, T4, rows, earlier) is None
    with pytest.raises(DoesNotFit):
        check_fits(job, long, T4, rows, [row_of("가" * 600)])


def test_each_process_has_a_card_or_a_share_of_the_memory() -> None:
    card, cpu = machine_of(CLASSES["l4"]), Machine(None, "float32", False, host=64 * GIB)
    assert usable(card, 4) == usable(card)
    assert usable(cpu, 4) == 16 * GIB - LIBRARIES
    alone, four = SFT, replace(SFT, processes=4)
    # Gradients are sent from a copy of them: 61.0 million, in 32 bits.
    assert need(four).trained - need(alone).trained == pytest.approx(4 * 61.0e6, rel=0.01)
    assert replace(need(four), trained=0) == replace(need(alone), trained=0)
    takes = needed(alone, VICUNA, 4, on_card=False).total
    narrow = Machine(None, "float32", False, host=takes + LIBRARIES + GIB)
    assert check(alone, VICUNA, narrow).total == takes
    with pytest.raises(DoesNotFit, match="each of the 4 processes of the training takes") as caught:
        check(four, VICUNA, narrow)
    assert "--processes 1 --accumulate 4" in caught.value.cure


def test_of_a_model_on_the_hub_its_config_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that nobody knows here, and of which nothing else is fetched."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = Settings(output="s3://out/", model="acme/video", model_revision="main")
    job, rows = make_job(quantized=False), [row_of("고양이가 잡니다.")]
    note = check_fits(job, settings, T4, rows)
    assert "nobody planned whether the training fits" in str(note)
    assert "acme/video" in str(note)
    snapshot = tmp_path / "models--acme--video" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--acme--video" / "refs").mkdir()
    (tmp_path / "models--acme--video" / "refs" / "main").write_text("0123abcd")
    text = {"model_type": "llama", "vocab_size": 32064}
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096}
    config = {"model_type": "llava_next_video", "text_config": text}
    config["vision_config"] = {**vision, "image_size": 336, "patch_size": 14}
    (snapshot / "config.json").write_text(json.dumps(config))
    with pytest.raises(DoesNotFit, match=r"13\.16 for weights"):
        check_fits(job, settings, T4, rows)


def test_a_card_of_unknown_memory_is_told() -> None:
    settings = Settings(output="s3://out/", model=PUBLISHED)
    unknown = Machine(None, "bfloat16", quantized=False)
    note = check_fits(make_job(), settings, unknown, [row_of("고양이")])
    assert "the driver does not say" in str(note)
