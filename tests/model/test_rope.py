"""Scaled positions: computed as transformers does, and refused where company would change them."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError
from tests.engines import SIZE, asked, film, films, plain
from tests.tiny_model import make_checkpoint
from workers.caption.engine.engine import Engine
from workers.model.loading import load_model

pytestmark = pytest.mark.model

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


def checkpoint(folder: Path, **scaling: Any) -> Path:
    """With positions of which the longest requests need twice as many."""
    make_checkpoint(folder, max_position_embeddings=64)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    text = config["text_config"]
    old = text.pop("rope_parameters", None) or {}
    if "type" in scaling:  # as older versions wrote it
        text["rope_scaling"] = scaling
    else:
        text["rope_parameters"] = {"rope_theta": old.get("rope_theta", 10000.0), **scaling}
    file.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {"type": "linear", "factor": 4.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {"rope_type": "llama3", "factor": 4.0, "original_max_position_embeddings": 64, **LLAMA3},
    ],
)
def test_fixed_scaling_is_that_of_transformers(scaling: dict[str, Any], tmp_path: Path) -> None:
    loaded = load_model(checkpoint(tmp_path, **scaling), model_id="tests/tiny")
    requests = [film(loaded, 9, 16), *films(loaded)[:3]]
    assert len(requests[0].ids) > 128
    engine = Engine(loaded, SIZE)
    said = [one.tokens for one in asked(engine, *requests)]
    engine.close()
    assert said == [plain(loaded, one) for one in requests]


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "dynamic", "factor": 4.0},
        {"type": "dynamic", "factor": 4.0},
        {
            "rope_type": "longrope",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
            "short_factor": [1.0] * 16,
            "long_factor": [2.0] * 16,
        },
    ],
)
def test_scaling_by_the_length_of_others_is_refused(
    scaling: dict[str, Any], tmp_path: Path
) -> None:
    loaded = load_model(checkpoint(tmp_path, **scaling), model_id="tests/tiny")
    with pytest.raises(ConfigError, match="depend on those before it and beside it"):
        Engine(loaded, SIZE)
