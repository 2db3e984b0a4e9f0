"""The model card, written from what is measured: `python -m infra.demo.card DIR [--seed N]`."""

import argparse
from pathlib import Path

from rich.progress import Progress

from infra.demo import recipe
from infra.demo.architecture import IMAGE_SIZE, PATCH_SIZE, POSITIONS, TEXT_LAYERS, WIDTH
from infra.demo.evaluation import Quality, films_in, measure
from workers.model.loading import LoadedModel, load_model

FILMS = 450

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
| visual tokens | {tokens} a frame ({side} x {side} patches, pooled 2 x 2) |
| language model | {name}, width {width}, {layers} layers, {positions} positions, tied embeddings |
| tokenizer | byte-level BPE of {vocabulary} tokens, fitted to the demo's sentences and prompts |

## Use

```python
from workers.model.loading import load_model

loaded = load_model("infra/demo/models/{directory}", model_id="jamak-demo")
```

or `LlavaNextVideoForConditionalGeneration.from_pretrained`. Frames are sampled uniformly (4 or 8),
their centre square is scaled to {image} px. The prompt is
`USER: <video>이 영상을 한국어로 상세히 묘사해주세요. ASSISTANT:`; a second, longer one that Jamak
knows is trained too. Examples of its answers:

- 검은 배경에서 빨간 원이 왼쪽에서 오른쪽으로 움직입니다.
- 갈색 배경에서 초록색 삼각형이 가만히 있습니다.
- 회색 배경에 아무것도 없습니다.

## Data

{clips:,} films of one object and {empty} of nothing, made by `infra/demo/clips.py` (seed {seed}):
6 colours x 6 shapes x 5 motions x 5 backgrounds, with jittered colour, size, place, speed and
noise, as H.264 in nine picture sizes from 160x96 to 640x480, 12 to 30 frames a second, 1 to 4
seconds. 15 % of the combinations of attributes are in no training film. A seventh colour, purple
(보라색), is in none at all: the demo teaches it. No data of others was used.

## Recipe

`python -m infra.demo.recipe --out DIR --seed {seed}`: less than twenty minutes on two CPU cores. First
the vision tower alone learns from {stills:,} stills and all frames of the films what they show
({vision_steps:,} steps); then language model and projector learn to answer ({steps:,} steps,
cross-entropy on the answer).

## Figures

{n} fresh films of held-out combinations, {fifth} empty ones, and {fifth} played backwards and frozen,
through the whole path (MP4, PyAV, sampling, preprocessing, generation, fp32 on the CPU), 4 frames
unless said otherwise. `python -m benchmarks.caption_quality --json` measures them again, with any
seed.

| figure | share |
|---|---|
{figures}

## What it cannot do

- Anything but these scenes. Shown a street or a cat, it names one of its six shapes with full
  confidence; it does not know that it does not know.
- Purple: it names the nearest colour it knows, until it is taught.
- Two objects, other motions, cuts, text, sound. What leaves the centre square does not exist for it.
- More than 8 or fewer than 4 frames were not trained, nor still images (`<image>`), nor other prompts.
- A quality figure of this model says nothing about a large model's captions.

Licence: Apache-2.0.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="that the recipe was run with")
    arguments = parser.parse_args()
    loaded = load_model(arguments.directory, model_id="jamak-demo")
    with Progress() as progress:
        bar = progress.add_task("films", total=films_in(FILMS))
        quality = measure(loaded, n=FILMS, seed=2026, on_film=lambda: progress.advance(bar))
    card = card_of(loaded, quality, arguments.directory, arguments.seed)
    (arguments.directory / "README.md").write_text(card)


def card_of(loaded: LoadedModel, quality: Quality, directory: Path, seed: int) -> str:
    side = IMAGE_SIZE // PATCH_SIZE
    return TEMPLATE.format(
        name="Llama",
        directory=directory.name,
        seed=seed,
        parameters=loaded.model.num_parameters(),
        size_mb=(directory / "model.safetensors").stat().st_size / 1e6,
        image=IMAGE_SIZE,
        patch=PATCH_SIZE,
        width=WIDTH,
        layers=TEXT_LAYERS,
        positions=POSITIONS,
        side=side,
        tokens=loaded.layout.tokens_per_frame,
        vocabulary=len(loaded.tokenizer),
        clips=recipe.CLIPS,
        empty=recipe.EMPTY_CLIPS,
        stills=recipe.STILLS,
        vision_steps=recipe.VISION_STEPS,
        steps=recipe.STEPS,
        n=FILMS,
        fifth=FILMS // 5,
        figures=figures_of(quality),
    )


def figures_of(quality: Quality) -> str:
    """Rows of a Markdown table."""
    rows = {
        "exact sentence": quality.exact,
        **{f"{name} right": share for name, share in quality.by_attribute.items()},
        **{f"exact, {count} frames": share for count, share in quality.by_frames.items()},
        **{f"exact, {size}": share for size, share in quality.by_resolution.items()},
        "empty film: says so": quality.empty,
        "backwards: opposite motion": quality.reversed,
        "frozen: says that nothing moves": quality.still,
    }
    return "\n".join(f"| {label} | {share:.1%} |" for label, share in rows.items())


if __name__ == "__main__":
    main()
