"""Our pixels and our token layout are those of transformers' own processor, where it can run.

The golden files are its output (see tests/goldens/make_processor_golden.py).
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shared.errors import BadData, ConfigError
from tests.goldens.make_processor_golden import CROP, PINPOINTS, SIZES, picture
from workers.model.layout import VisualLayout, context_length
from workers.model.preprocess import Preprocessor

GOLDENS = Path(__file__).parents[1] / "goldens"
COUNTS = json.loads((GOLDENS / "processor.json").read_text())
VIDEO, IMAGE = 900, 901

CLIP = Preprocessor(
    shortest_edge=CROP,
    crop=CROP,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)


def layout(stride: int = 2, size: int = 336, patch: int = 14) -> VisualLayout:
    pinpoints = tuple((height, width) for height, width in PINPOINTS)
    return VisualLayout(size, patch, stride, VIDEO, IMAGE, pinpoints)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pixels_equal_the_stock_processors(height: int, width: int) -> None:
    golden = np.load(GOLDENS / "processor.npz")[f"{height}x{width}"]
    ours = CLIP(picture(height, width)[None])
    assert ours.shape == (1, 3, CROP, CROP)
    assert ours.dtype == torch.float32
    difference = np.abs(ours[0].numpy() - golden)
    # One level of 255 is 0.0146 after normalisation: the two resizers round alike but for that.
    assert difference.max() < 0.016
    assert difference.mean() < 1e-3


@pytest.mark.parametrize("frames", [1, 4, 8, 32])
def test_video_tokens_equal_the_stock_processors(frames: int) -> None:
    ids = layout().expand([5, VIDEO, 6], videos=[frames])
    assert ids.count(VIDEO) == COUNTS["video"][str(frames)]
    assert (ids[0], ids[-1]) == (5, 6)


@pytest.mark.parametrize("size", COUNTS["image"])
def test_image_tokens_equal_the_stock_processors(size: str) -> None:
    height, width = map(int, size.split("x"))
    assert layout().image_tokens(height, width) == COUNTS["image"][size]


def test_three_by_three_pooling_costs_64_tokens_a_frame() -> None:
    assert layout(stride=3).tokens_per_frame == 64
    assert len(layout(stride=3).expand([VIDEO], videos=[9])) == 576


def test_media_are_expanded_each_to_its_own_length() -> None:
    tiny = layout(size=28)  # 2x2 patches, one token a frame
    assert tiny.expand([1, VIDEO, 2, VIDEO], videos=[3, 1]) == [1, *[VIDEO] * 3, 2, VIDEO]


@pytest.mark.parametrize(
    ("ids", "videos"), [([1, 2], [4]), ([VIDEO, VIDEO], [4]), ([VIDEO], []), ([VIDEO], [2, 2])]
)
def test_a_text_that_does_not_match_its_media_is_refused(ids: list[int], videos: list[int]) -> None:
    with pytest.raises(BadData, match="<video>"):
        layout().expand(ids, videos=videos)


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "default", "rope_theta": 10000.0}, 4096),
        ({"rope_type": "linear", "factor": 2.0}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, 4096),
        ({}, 4096),
    ],
)
def test_rope_scaling_counts_as_context(rope: dict[str, object], length: int) -> None:
    config = SimpleNamespace(max_position_embeddings=4096, rope_parameters=rope)
    assert context_length(config) == length


PLAIN = {
    "size": {"shortest_edge": 336},
    "crop_size": {"height": 336, "width": 336},
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [1, 1, 1],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preprocessor_config.json", PLAIN),
        ("video_preprocessor_config.json", PLAIN),
        ("processor_config.json", {"video_processor": PLAIN}),
        ("preprocessor_config.json", PLAIN | {"size": 336, "crop_size": 336}),
    ],
)
def test_the_checkpoints_own_numbers_are_read(tmp_path: Path, name: str, content: object) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    found = Preprocessor.from_pretrained(tmp_path)
    assert (found.shortest_edge, found.crop, found.mean) == (336, 336, (0.1, 0.2, 0.3))


def test_a_checkpoint_without_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="preprocessor_config"):
        Preprocessor.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PLAIN | {"crop_size": {}}))
    with pytest.raises(ConfigError, match="height"):
        Preprocessor.from_pretrained(tmp_path)
