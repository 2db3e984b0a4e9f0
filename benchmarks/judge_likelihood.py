"""How likely the demo's model finds captions of films, right ones and ones with planted errors.

The films are drawn and shown without being written: what a codec does to them is no question here.
"""

from collections.abc import Sequence

import torch

from infra.demo.clips import Clip, render
from infra.demo.scenes import Scene
from infra.local.stack import DEMO_MODEL
from shared.prompts import BASE_PROMPT
from shared.rows import MediaRef, Row
from workers.model.loading import LoadedModel, load_model
from workers.train.collate import Encoder
from workers.train.likelihood import likelihoods
from workers.train.sight import Sight

FRAMES = 4
"""Of each film, the centres of its quarters: as a worker samples it."""


class Drawn:
    """As the clips of a training set; each film's key is its number."""

    def __init__(self, scenes: Sequence[Scene], loaded: LoadedModel) -> None:
        self._sight, self._preprocessor = Sight(loaded), loaded.preprocessor
        self._seen = [self._see(number, scene) for number, scene in enumerate(scenes)]

    def _see(self, number: int, scene: Scene) -> torch.Tensor:
        film = render(scene, Clip(number))
        centres = [(2 * part + 1) * len(film) // (2 * FRAMES) for part in range(FRAMES)]
        return self._sight(self._preprocessor(film[centres]))

    def frames(self, key: str) -> int:
        return len(self._seen[int(key)])

    def features(self, keys: Sequence[str]) -> list[torch.Tensor]:
        return [self._seen[int(key)] for key in keys]


def nats_a_token(scenes: Sequence[Scene], told: Sequence[Sequence[str]]) -> list[list[float]]:
    """Of each film, of each of its captions in `told`."""
    loaded = load_model(DEMO_MODEL, model_id="jamak/demo-llama", revision="1")
    encoder = Encoder(loaded, Drawn(scenes, loaded))
    rows = [_row(number, text) for number, texts in enumerate(told) for text in texts]
    found = iter(likelihoods(loaded.model, encoder, rows, lambda done, total: None))
    return [[next(found)[0].per_token for _ in texts] for texts in told]


def _row(number: int, text: str) -> Row:
    return Row(
        id=str(number), videos=(MediaRef(uri=str(number)),), prompt=BASE_PROMPT, completion=text
    )
