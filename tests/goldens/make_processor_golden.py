"""Makes processor.npz and processor.json from transformers' own LLaVA-NeXT-Video processor.

That one needs torchvision, which Jamak does not: run this where it can be imported, with
`python -m tests.goldens.make_processor_golden`, only when the golden must be made anew.
"""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent

SIZES = [(90, 160), (160, 90), (64, 64), (49, 211)]
"""(height, width) of the golden's frames."""
CROP = 48
STILLS = [(336, 336), (480, 640), (640, 480), (100, 1000), (1000, 100), (333, 777), (720, 1280)]
"""(height, width) of the single images whose tokens are counted, at 336 px and patch 14."""
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
FRAMES = [1, 4, 8, 32]


def picture(height: int, width: int) -> np.ndarray:
    """Edges, gradients and noise, always the same. (height, width, 3) uint8."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(height * 1000 + width).integers(0, 40, (height, width, 3))
    waves = np.stack([rows * 3 % 216, columns * 5 % 216, (rows // 8 + columns // 8) % 2 * 200], -1)
    return (waves + noise).clip(0, 255).astype(np.uint8)


def main() -> None:
    import torch
    from transformers import LlavaNextVideoProcessor, PreTrainedTokenizerFast
    from transformers.models.llava_next.image_processing_llava_next import LlavaNextImageProcessor
    from transformers.models.llava_next_video.video_processing_llava_next_video import (
        LlavaNextVideoVideoProcessor,
    )

    from tests.tokenizers import character_tokenizer

    small = LlavaNextVideoVideoProcessor(
        size={"shortest_edge": CROP}, crop_size={"height": CROP, "width": CROP}
    )
    pixels = {}
    for height, width in SIZES:
        frames = torch.from_numpy(picture(height, width)).permute(2, 0, 1)[None]
        found = small(frames, return_tensors="pt")["pixel_values_videos"][0, 0]
        pixels[f"{height}x{width}"] = found.numpy().astype(np.float32)
    np.savez_compressed(HERE / "processor.npz", **pixels)

    tokenizer: PreTrainedTokenizerFast = character_tokenizer()
    processor = LlavaNextVideoProcessor(
        video_processor=LlavaNextVideoVideoProcessor(
            size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
        ),
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": 336},
            crop_size={"height": 336, "width": 336},
            image_grid_pinpoints=PINPOINTS,
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    video_id = tokenizer.convert_tokens_to_ids("<video>")
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    layout: dict[str, dict[str, int]] = {"video": {}, "image": {}}
    for count in FRAMES:
        clip = torch.zeros(count, 3, 336, 336, dtype=torch.uint8)
        ids = processor(text=["a<video>b"], videos=[clip], return_tensors="pt").input_ids
        layout["video"][str(count)] = int((ids == video_id).sum())
    for height, width in STILLS:
        ids = processor(
            text=["a<image>b"], images=[picture(height, width)], return_tensors="pt"
        ).input_ids
        layout["image"][f"{height}x{width}"] = int((ids == image_id).sum())
    (HERE / "processor.json").write_text(json.dumps(layout, indent=1) + "\n")


if __name__ == "__main__":
    main()
