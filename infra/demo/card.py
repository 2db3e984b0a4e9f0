"""The model cards, written from what is measured: `python -m infra.demo.card [--seed N]`."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from infra.demo import answers, vision
from infra.demo.architecture import (
    BACKBONES,
    IMAGE_SIZE,
    PATCH_SIZE,
    POSITIONS,
    TEXT_LAYERS,
    WIDTH,
    Backbone,
)
from infra.demo.captions import CANONICAL_SHARE, caption
from infra.demo.clips import Clip, film, render
from infra.demo.dataset import Curriculum
from infra.demo.evaluation import (
    DEFAULT,
    FEWEST,
    Answer,
    Eyewitness,
    Quality,
    interviews,
    jobs_of,
    misses,
    summary,
)
from infra.demo.recipe import SEED, Variant
from infra.demo.scenes import Figure, Scene, single
from workers.model.loading import LoadedModel, load_model

MODELS = Path(__file__).parent / "models"
FILMS, FILMS_SEED = 1200, 2026
EXAMPLES = 8
"""Of misses."""
NAMES: dict[Backbone, str] = {"llama": "Llama", "qwen3": "Qwen3"}

TEMPLATE = """\
---
license: apache-2.0
language: ko
pipeline_tag: video-text-to-text
library_name: transformers
tags: [video-captioning, korean, llava-next-video, demo]
---

# Jamak demo model ({name} backbone)

A real LLaVA-NeXT-Video, only tiny: {parameters:,} parameters, {size_mb:.1f} MB in bf16. It was trained
from nothing on films that we draw ourselves, so that Jamak's demo and tests can run the real code
on a real model, without a download and without a GPU. It is no use outside that world.

| part | value |
|---|---|
| vision | CLIP encoder, {image} px, patch {patch}, width {width}, features from before the last layer |
| visual tokens | {tokens} a frame ({side} x {side} patches, pooled 2 x 2), {tokens3} with 3 x 3 pooling |
| language model | {name}, width {width}, {layers} layers, {positions} positions, tied embeddings |
| tokenizer | byte-level BPE of {vocabulary} tokens, fitted to the demo's sentences and prompts |

## Use

```python
from workers.model.loading import load_model

loaded = load_model("infra/demo/models/{directory}", model_id="jamak-demo")
```

or `LlavaNextVideoForConditionalGeneration.from_pretrained`. Frames are sampled uniformly, 4 to 32
of them; their centre square is scaled to {image} px. The prompt is
`USER: <video>이 영상을 한국어로 상세히 묘사해주세요. ASSISTANT:`; a second, longer one that Jamak
knows is trained too. What it can say:

- 검은 배경에서 빨간 원이 왼쪽 위에서 오른쪽 아래로 움직입니다.
- 갈색 배경에서 초록색 삼각형이 가만히 있고, 파란 별이 점점 작아집니다.
- 처음에는 흰 배경에 아무것도 없고, 그다음 남색 배경에서 분홍색 하트가 위에서 아래로 움직입니다.

## Data

{films} of one object, of two, of a cut between two scenes and of nothing, drawn by
`infra/demo/clips.py`: 6 colours, 6 shapes, 11 motions, 5 backgrounds, with jittered colour, size,
place, speed and noise; H.264, HEVC and VP9, 64 to 320 px, 12 to 60 frames a second, 1 to 12 seconds.
15 % of the combinations (an object, its motion and its background; a pair of objects) are in no
training film. A seventh colour, purple (보라색), is in none at all: the demo teaches it. Each film
has one canonical caption, which makes up {canonical:.0%} of the training texts, and two other
phrasings. No data of others was used.

## Recipe

`make model`: both variants and these cards, in less than an hour on two CPU cores. Seed {seed},
films of seed {films_seed}. First the vision tower alone learns from all frames of the films and
{stills:,} stills what they show and where ({vision_steps:,} steps of {vision_batch}). Then, with
the tower frozen, projector and language model learn to answer ({steps:,} steps of up to {batch},
cross-entropy on the answer), from 4, 8, 16 and 32 frames, with 2 x 2 and 3 x 3 pooling. The other
variant has the same films and the same recipe, another backbone and another seed, so its vision
tower is another one too.

## Figures

{n:,} fresh films of combinations that were held out (but for the empty ones, and for what the three
controls make of a film), in pictures of 64 to 640 px, through the whole path (file, PyAV, sampling, preprocessing, generation, fp32 on the CPU); exact sentences, one
object and {fewest} frames unless said otherwise. `python -m benchmarks.caption_quality --json` measures
them again, with any seed.

| figure | share |
|---|---|
{figures}

## What it cannot do

Anything but these scenes. It does not know that it does not know: whatever it is shown, it answers
with one of its own sentences and full confidence.

| shown | said |
|---|---|
{outside}

Within its world it errs, too. Some of the {wrong} wrong answers among {asked:,}:

| frames | is | said |
|---|---|---|
{misses}

- With {fewest} frames a cut may leave one of its scenes a single frame, which shows no motion: most of
  the misses are such films.
- Where two objects overlap, which they do in one film of a hundred, their colours add up.
- What leaves the centre square does not exist for it. No text, no sound, no stills (`<image>`), no
  other prompts.
- A quality figure of this model says nothing about a large model's captions.

Licence: Apache-2.0.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=SEED, help="that the recipe was run with")
    arguments = parser.parse_args()
    directories = [MODELS / backbone for backbone in BACKBONES]
    said: dict[str, list[Answer]] = {backbone: [] for backbone in BACKBONES}
    jobs = jobs_of(FILMS, FILMS_SEED)
    for found in track(interviews(directories, jobs), "films", total=len(jobs)):
        for name, answered in found.items():
            said[name].extend(answered)
    for backbone in BACKBONES:
        card = card_of(Variant(backbone, arguments.seed), MODELS / backbone, said[backbone])
        (MODELS / backbone / "README.md").write_text(card)


def card_of(variant: Variant, directory: Path, said: Sequence[Answer]) -> str:
    loaded = load_model(directory, model_id="jamak-demo")
    side, layout = IMAGE_SIZE // PATCH_SIZE, loaded.layout
    curriculum, wrong = Curriculum(variant.seed), misses(said, len(said))
    return TEMPLATE.format(
        name=NAMES[variant.backbone],
        directory=directory.name,
        seed=variant.torch_seed,
        films_seed=variant.seed,
        parameters=loaded.model.num_parameters(),
        size_mb=(directory / "model.safetensors").stat().st_size / 1e6,
        image=IMAGE_SIZE,
        patch=PATCH_SIZE,
        width=WIDTH,
        layers=TEXT_LAYERS,
        positions=POSITIONS,
        side=side,
        tokens=layout.tokens_per_frame,
        tokens3=(side // 3) ** 2,
        vocabulary=len(loaded.tokenizer),
        canonical=CANONICAL_SHARE,
        films=f"{sum(curriculum.films.values()):,} films",
        stills=curriculum.stills,
        vision_steps=vision.STEPS,
        vision_batch=vision.BATCH,
        steps=sum(lesson.steps for lesson in answers.LESSONS),
        batch=answers.BATCH,
        n=len({one.clip.seed for one in said}),
        fewest=FEWEST,
        figures=figures_of(summary(said)),
        outside=outside(loaded),
        wrong=len(wrong),
        asked=sum(one.question in ("plain", "pool3") for one in said),
        misses="\n".join(
            f"| {one.frames} | {caption(one.scene)} | {one.said} |"
            for one in wrong[:: max(1, len(wrong) // EXAMPLES)][:EXAMPLES]
        ),
    )


def figures_of(quality: Quality) -> str:
    """Rows of a Markdown table."""
    rows = {
        "one object": quality.exact,
        "two objects": quality.two_objects,
        f"a cut, {DEFAULT} frames": quality.scene_change,
        "nothing there": quality.empty,
        "one object, 3 x 3 pooling": quality.pool3,
        "one object, language model in NF4: the same caption": quality.nf4_identical,
        **{
            f"{label}, {count} frames": share
            for label, kind in (("one object", "single"), ("two objects", "two_objects"))
            for count, share in quality.by_kind[kind].items()
            if int(count) != FEWEST
        },
        **{
            f"a cut, {count} frames": share
            for count, share in quality.by_kind["scene_change"].items()
            if int(count) != DEFAULT
        },
        **{f"one object, {size}": share for size, share in quality.by_resolution.items()},
        **{f"one object, {codec}": share for codec, share in quality.by_codec.items()},
        **{f"{name} right": share for name, share in quality.by_attribute.items()},
        "played backwards: the opposite motion": quality.reversed,
        "first frame repeated: nothing moves": quality.still,
        "another background: the same object": quality.other_background,
    }
    return "\n".join(f"| {label} | {share:.1%} |" for label, share in rows.items())


def outside(loaded: LoadedModel) -> str:
    """Rows of a Markdown table: what it says of what it never met."""
    witness, clip = Eyewitness(loaded), Clip(seed=1, width=160, height=120)
    with tempfile.TemporaryDirectory() as folder:
        purple = single("white", "purple", "circle", "rightwards")
        rows = {"a purple circle goes right": witness.ask(film(purple, clip, Path(folder) / "a"))}
    shown = np.arange(FEWEST) * (clip.frame_count - 1) // (FEWEST - 1)
    two, third = (
        render(scene, Clip(seed=seed, width=160, height=120))[shown].astype(np.int16)
        for seed, scene in (
            (3, Scene("black", (Figure("red", "star", "still"), Figure("blue", "heart", "still")))),
            (9, single("black", "green", "circle", "still")),
        )
    )
    rows["three objects"] = witness.tell(np.maximum(two, third).astype(np.uint8))
    noise = np.random.default_rng(1).integers(0, 256, (FEWEST, 120, 160, 3), np.uint8)
    rows["noise, as of an old television"] = witness.tell(noise)
    ramp = np.linspace(0, 255, 160).astype(np.uint8)[None, None, :, None]
    rows["a gradient from black to white"] = witness.tell(
        np.broadcast_to(ramp, (FEWEST, 120, 160, 3)).copy()
    )
    return "\n".join(f"| {what} | {said} |" for what, said in rows.items())


if __name__ == "__main__":
    main()
