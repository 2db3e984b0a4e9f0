"""The captioner on a random tiny model: its answers, its self-check, its adapters."""

import dataclasses
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from shared import telemetry
from shared.cards import CLASSES
from shared.errors import ConfigError, DoesNotFit
from shared.messages import AdapterUsed, Decoding
from shared.prompts import BASE_PROMPT
from tests.adapters import make_adapter
from workers.caption.captioner import EngineCaptioner
from workers.model.loading import LoadedModel, load_model
from workers.model.prompt import completion_ids, prompt_ids, text_of
from workers.model.selfcheck import check_model
from workers.progress import Progress
from workers.video.sampling import Frames

pytestmark = pytest.mark.model

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
SHORT = Decoding(max_new_tokens=12)


def load(folder: Path, **options: Any) -> LoadedModel:
    return load_model(folder, model_id="tests/tiny", **options)


@pytest.fixture
def loaded(checkpoint: Path) -> LoadedModel:
    return load(checkpoint)


@pytest.fixture
def captioner(loaded: LoadedModel) -> EngineCaptioner:
    return EngineCaptioner(loaded, CLASSES["cpu"])


def frames(seed: int, count: int = 4) -> Frames:
    return np.random.default_rng(seed).integers(0, 255, (count, 60, 80, 3), dtype=np.uint8)


def ask(captioner: EngineCaptioner, seed: int = 0, count: int = 4) -> str:
    return captioner.caption(frames(seed, count), BASE_PROMPT, SHORT, Progress()).text


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(checkpoint, tmp_path_factory.mktemp("adapter"), seed=1)


# --- answers -------------------------------------------------------------------------------------


def test_it_answers_as_plain_generate_does(loaded: LoadedModel, captioner: EngineCaptioner) -> None:
    ids = loaded.layout.expand(prompt_ids(loaded.tokenizer, BASE_PROMPT), videos=[4])
    output = loaded.model.generate(
        input_ids=torch.tensor([ids]),
        pixel_values_videos=loaded.preprocessor(frames(3))[None],
        max_new_tokens=12,
        do_sample=False,
    )
    answer = captioner.caption(frames(3), BASE_PROMPT, SHORT, Progress())
    assert answer.text == text_of(loaded.tokenizer, output[0, len(ids) :].tolist())
    assert answer.visual_tokens == 4 * 9
    assert answer.prompt_tokens == len(ids) - 4 * 9
    assert answer.generated_tokens <= 12


def test_the_frames_matter(captioner: EngineCaptioner) -> None:
    assert len({ask(captioner, seed) for seed in range(4)}) > 1


def test_three_by_three_pooling_runs(checkpoint: Path) -> None:
    pooled = load(checkpoint, pool_stride=3)
    assert pooled.layout.tokens_per_frame == 4
    check_model(pooled)
    answer = EngineCaptioner(pooled, CLASSES["cpu"]).caption(
        frames(0), BASE_PROMPT, SHORT, Progress()
    )
    assert answer.visual_tokens == 16


def test_four_bit_touches_the_language_model_alone(checkpoint: Path) -> None:
    quantized = load(checkpoint, quantized=True)
    kinds = {
        name: type(module).__name__
        for name, module in quantized.model.named_modules()
        if "Linear" in type(module).__name__
    }
    inside = [kind for name, kind in kinds.items() if name.startswith("model.language_model")]
    outside = [kind for name, kind in kinds.items() if not name.startswith("model.language_model")]
    assert set(inside) == {"Linear4bit"}
    assert "Linear4bit" not in outside
    assert ask(EngineCaptioner(quantized, CLASSES["t4"]))


def test_skip_names_that_are_not_whole_are_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap: bitsandbytes takes short names without a word, and puts the vision tower and the
    projector into 4 bits as well. Captions only get worse, and a training dies where it makes the
    projector trainable."""
    short = ["vision_tower", "multi_modal_projector", "lm_head"]
    monkeypatch.setattr("workers.model.loading.NOT_QUANTIZED", short)
    touched = r"touched \d+ linears of the language model and [1-9]\d* elsewhere"
    with pytest.raises(ConfigError, match=touched) as caught:
        load(checkpoint, quantized=True)
    assert "constraints.txt" in caught.value.cure


def test_it_says_that_it_moves_at_every_step(captioner: EngineCaptioner) -> None:
    progress = Progress()
    answer = captioner.caption(frames(0), BASE_PROMPT, SHORT, progress)
    assert progress.pulse >= (answer.generated_tokens,)
    assert {"preprocess", "generate"} <= set(progress.timings_s())


def test_what_is_drawn_depends_on_the_video_and_on_nothing_else(
    captioner: EngineCaptioner,
) -> None:
    hot = Decoding(max_new_tokens=12, temperature=2.0)

    def say(seed: int, decoding: Decoding = hot) -> str:
        return captioner.caption(frames(seed), BASE_PROMPT, decoding, Progress()).text

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(say, range(8)))
    assert [say(seed) for seed in range(8)] == together
    assert len(set(together)) == 8
    drawn = [say(0, hot.model_copy(update={"draw": n})) for n in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3]
    assert len({*drawn, together[0]}) == 4
    prompts = [captioner.answer(f"USER: {n} ASSISTANT:", hot, Progress()).text for n in range(3)]
    assert len(set(prompts)) == 3


def test_a_question_is_text_whatever_it_quotes(captioner: EngineCaptioner) -> None:
    question = "USER: 간판에 {}라고 쓰여 있습니다. ASSISTANT:"
    plain = captioner.answer(question.format(""), SHORT, Progress())
    for quoted in ("<video>", "<<image>image>", "</s>", "</<video>s>"):
        answer = captioner.answer(question.format(quoted), SHORT, Progress())
        assert (answer.text, answer.prompt_tokens) == (plain.text, plain.prompt_tokens)
    assert captioner.fits(question.format("<video>" * 2000), 12)


def test_a_caption_beyond_this_workers_positions_is_refused_with_what_fits(
    loaded: LoadedModel,
) -> None:
    small = EngineCaptioner(loaded, CLASSES["h100"], rows=2, positions=192)
    with pytest.raises(DoesNotFit, match="a caption here has 192 positions") as refused:
        small.plan(BASE_PROMPT, 32, 64)
    fitting = refused.value.evidence["fitting"]
    assert refused.value.cure.startswith(f"Ask for {fitting} frames")
    assert small.plan(BASE_PROMPT, fitting, 64).frames == fitting
    assert not small.fits("USER: ASSISTANT:", 192)


def test_tokens_are_counted_as_they_are_told(captioner: EngineCaptioner) -> None:
    """Also where one more step was begun before it was known that a caption is over."""

    def counted() -> float:
        (metric,) = telemetry.ENGINE_TOKENS.collect()
        samples = [one for one in metric.samples if one.name.endswith("_total")]
        return sum(one.value for one in samples if one.labels == {"kind": "generated"})

    before = counted()
    answers = [captioner.caption(frames(seed), BASE_PROMPT, SHORT, Progress()) for seed in range(3)]
    assert counted() - before == sum(answer.generated_tokens for answer in answers) > 3


def test_a_plan_that_does_not_fit_is_refused(captioner: EngineCaptioner) -> None:
    assert captioner.plan(BASE_PROMPT, None, 64).frames == 4
    with pytest.raises(DoesNotFit):
        captioner.plan(BASE_PROMPT, None, 5000)
    with pytest.raises(DoesNotFit, match="positions"):
        captioner.caption(frames(0), BASE_PROMPT, Decoding(max_new_tokens=5000), Progress())


def test_a_caption_is_as_long_as_its_syllables_come_to(captioner: EngineCaptioner) -> None:
    decoding = Decoding(max_syllables=9)
    answer = captioner.caption(frames(3), BASE_PROMPT, decoding, Progress())
    # A token is a byte here: three a syllable, and spaces, numbers and names.
    assert answer.generated_tokens == captioner.longest(decoding) == 45
    assert not answer.finished
    assert captioner.longest(SHORT) == 12


def test_prompt_and_completion_are_joined_as_ids(loaded: LoadedModel) -> None:
    ids = completion_ids(loaded.tokenizer, "빨간 원")
    assert ids[-1] == loaded.tokenizer.eos_token_id
    assert text_of(loaded.tokenizer, ids) == "빨간 원"


# --- the self-check at the start -----------------------------------------------------------------


def test_a_sound_checkpoint_passes(loaded: LoadedModel) -> None:
    check_model(loaded)


def wrong_crop(loaded: LoadedModel) -> LoadedModel:
    preprocessor = dataclasses.replace(loaded.preprocessor, crop=40)
    return dataclasses.replace(loaded, preprocessor=preprocessor)


def wrong_strategy(loaded: LoadedModel) -> LoadedModel:
    loaded.model.config.vision_feature_select_strategy = "full"
    return loaded


def wrong_patch(loaded: LoadedModel) -> LoadedModel:
    layout = dataclasses.replace(loaded.layout, patch_size=7)
    return dataclasses.replace(loaded, layout=layout)


def wrong_stride(loaded: LoadedModel) -> LoadedModel:
    layout = dataclasses.replace(loaded.layout, pool_stride=3)
    return dataclasses.replace(loaded, layout=layout)


def wrong_token(loaded: LoadedModel) -> LoadedModel:
    layout = dataclasses.replace(loaded.layout, video_token_id=77)
    return dataclasses.replace(loaded, layout=layout)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (wrong_crop, "crops to 40"),
        (wrong_strategy, "vision_feature_select_strategy"),
        (wrong_patch, "patch_size"),
        (wrong_stride, "spatial_pool_stride 3"),
        (wrong_token, "<video> is 3, but config.json says 77"),
    ],
)
def test_a_wrong_value_is_named(
    loaded: LoadedModel, spoil: Callable[[LoadedModel], LoadedModel], named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        check_model(spoil(loaded))
    assert caught.value.cure


def test_planned_image_tokens_equal_what_the_model_returns(loaded: LoadedModel) -> None:
    for height, width in [(48, 48), (60, 100), (100, 60), (30, 200), (77, 91)]:
        best_height, best_width = loaded.layout._best_pinpoint(height, width)
        tiles = 1 + best_height // 48 * (best_width // 48)
        features = loaded.model.get_image_features(
            torch.zeros(1, tiles, 3, 48, 48), torch.tensor([[height, width]])
        ).pooler_output
        assert loaded.layout.image_tokens(height, width) == sum(len(part) for part in features)


# --- adapters ------------------------------------------------------------------------------------


def use(captioner: EngineCaptioner, version: str, folder: Path, generation: int = 1) -> None:
    adapter = captioner.check_adapter(version, folder)
    captioner.use_adapter(AdapterUsed(version=version, generation=generation), adapter)


def answers(captioner: EngineCaptioner) -> list[str]:
    return [ask(captioner, seed) for seed in range(3)]


def test_adapters_come_and_go_and_the_base_stays_itself(
    captioner: EngineCaptioner, checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    base = answers(captioner)
    use(captioner, "one", adapter)
    one = answers(captioner)
    use(captioner, "two", make_adapter(checkpoint, tmp_path / "two", seed=2))
    two = answers(captioner)
    assert len({str(base), str(one), str(two)}) == 3
    captioner.use_adapter(None, None)
    assert answers(captioner) == base
    use(captioner, "one", adapter)
    assert answers(captioner) == one
    captioner.use_adapter(None, None)
    assert answers(captioner) == base


def test_captions_with_an_adapter_need_no_peft(
    captioner: EngineCaptioner, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    use(captioner, "one", adapter)
    assert ask(captioner)


def test_an_adapter_changes_what_peft_would_change(
    captioner: EngineCaptioner, loaded: LoadedModel, adapter: Path
) -> None:
    use(captioner, "one", adapter)
    with_engine = answers(captioner)
    model = PeftModel.from_pretrained(loaded.model, adapter)
    text = prompt_ids(loaded.tokenizer, BASE_PROMPT)
    ids = torch.tensor([loaded.layout.expand(text, videos=[4])])
    for seed, said in enumerate(with_engine):
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values_videos=loaded.preprocessor(frames(seed))[None],
            max_new_tokens=SHORT.max_new_tokens,
            do_sample=False,
            pad_token_id=loaded.tokenizer.pad_token_id,
        )
        assert text_of(loaded.tokenizer, output[0, ids.shape[1] :].tolist()) == said


def test_a_hot_adapter_answers_as_a_fresh_one(
    captioner: EngineCaptioner, checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    use(captioner, "other", make_adapter(checkpoint, tmp_path / "other", seed=5))
    use(captioner, "one", adapter)
    fresh = EngineCaptioner(load(checkpoint), CLASSES["cpu"])
    use(fresh, "one", adapter)
    assert answers(captioner) == answers(fresh)


def test_adapters_share_a_few_places(
    captioner: EngineCaptioner, checkpoint: Path, tmp_path: Path
) -> None:
    said = []
    for seed in range(4):
        use(captioner, f"v{seed}", make_adapter(checkpoint, tmp_path / str(seed), seed=seed))
        said.append(ask(captioner))
    assert len(set(said)) == 4
    # The one before is still in memory: to go back takes no file.
    captioner.use_adapter(AdapterUsed(version="v2", generation=9), None)
    assert ask(captioner) == said[2]
    with pytest.raises(ValueError, match="not in memory"):
        captioner.use_adapter(AdapterUsed(version="v0", generation=9), None)


def test_a_switch_under_load_mixes_nothing(
    captioner: EngineCaptioner, checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    """Each answer is the one that the adapter named in it gives."""
    other = make_adapter(checkpoint, tmp_path / "other", seed=9)
    truth = {}
    for version, folder in (("one", adapter), ("other", other)):
        use(captioner, version, folder)
        truth[version] = ask(captioner)
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(captioner.caption, frames(0), BASE_PROMPT, SHORT, Progress())
            for _ in range(24)
        ]
        for round_ in range(6):
            version, folder = (("one", adapter), ("other", other))[round_ % 2]
            use(captioner, version, folder)
    seen = [future.result() for future in futures]
    assert all(truth[answer.adapter.version] == answer.text for answer in seen if answer.adapter)
    assert truth["one"] != truth["other"]
