"""What training sees of a clip: to the bit what captioning sees, once computed and kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infra.demo.clips import write_film
from infra.local.stack import DEMO_MODEL
from shared.cards import CLASSES
from shared.errors import BadData
from shared.messages import Cuts, Decoding, Recipe, Segment, Video
from shared.prompts import BASE_PROMPT
from shared.rows import Row
from tests.training import dpo_rows, encoder_of, make_job, sft_rows
from workers.caption.captioner import EngineCaptioner
from workers.caption.engine import decoder as engine_decoder
from workers.caption.engine.requests import Request
from workers.caption.features import Kept
from workers.jobs.describe import Describer
from workers.jobs.looks import Film
from workers.jobs.turns import Turns
from workers.model.loading import LoadedModel, load_model
from workers.progress import Progress
from workers.train.adapter import with_adapter
from workers.train.collate import Batch, Encoder, PreferenceCollator, SftCollator
from workers.train.data import read_rows
from workers.video.pool import DecoderPool
from workers.video.source import file_source

pytestmark = pytest.mark.model

FRAMES = 4
PARTS = ((0.0, 0.6), (0.5, 1.7), (1.25, 99.0))


def row(path: Path, start: float | None = None, end: float | None = None) -> Row:
    part = {"start": start, "end": end}
    return Row.model_validate(
        {
            "id": f"{path.name} {start}",
            "videos": [{"uri": str(path), **part}],
            "prompt": BASE_PROMPT,
            "completion": "빨간 원",
        }
    )


def sft(encoder: Encoder, *rows: Row) -> Batch:
    features = [
        {"prompt": one.prompt, "completion": one.completion, "video": one.media.key} for one in rows
    ]
    return SftCollator(encoder)(features)


class Cut:
    """In parts, in place of scenes; nothing is kept of them."""

    def cuts(self, make: Callable[[], Cuts]) -> Cuts:
        return Cuts(segments_s=PARTS, reason="these")

    def segment(self, number: int, make: Callable[[], Segment]) -> Segment:
        return make()


class Captioning:
    """The captioner as jobs use it, and what reaches its engine."""

    def __init__(self, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded = loaded
        self.requests: list[Request] = []
        self.positions: list[int] = []
        """Of the tokens of the prompts, one after the other."""
        self.captioner = EngineCaptioner(loaded, CLASSES["cpu"], rows=1)
        submit, ranges = self.captioner.engine.submit, engine_decoder.Decoder._range

        def submitted(request: Request) -> Any:
            self.requests.append(request)
            return submit(request)

        def placed(decoder: Any, start: int, end: int) -> torch.Tensor:
            self.positions += range(start, end)
            return ranges(decoder, start, end)

        monkeypatch.setattr(self.captioner.engine, "submit", submitted)
        monkeypatch.setattr(engine_decoder.Decoder, "_range", placed)

    def look(self, path: Path, *, parts: bool = False) -> None:
        decoding = Decoding(max_new_tokens=1)
        recipe = Recipe(prompt=BASE_PROMPT, model="m", revision="r", decoding=decoding)
        describer = Describer(self.captioner, recipe, FRAMES, 60.0, Progress())
        video = Video(bucket="b", key=path.name, etag="e", size_bytes=1)
        pool = DecoderPool(1)
        with (
            Turns().of(Progress()) as turn,
            Film(
                video, Kept(0), turn, lambda: pool.open(file_source(path), Progress(), FRAMES)
            ) as film,
        ):
            if parts:
                cut: Any = Cut()
                describer.describe_parts(
                    film, cut, before_each=lambda *_: None, before_write=lambda _: None
                )
            else:
                describer.describe(describer.look(film))
        pool.close()


@pytest.fixture
def captioning(monkeypatch: pytest.MonkeyPatch) -> Callable[[LoadedModel], Captioning]:
    return lambda loaded: Captioning(loaded, monkeypatch)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wide, high, of one frame, and one long enough for parts; as a camera would write them."""
    folder = tmp_path_factory.mktemp("films")
    generator = np.random.default_rng(7)
    made = []
    for name, shape in (
        ("wide", (9, 48, 112, 3)),
        ("high", (5, 96, 64, 3)),
        ("one", (1, 90, 60, 3)),
        ("long", (16, 64, 64, 3)),
    ):
        path = folder / f"{name}.mp4"
        write_film(path, generator.integers(0, 255, shape).astype(np.uint8), fps=8)
        made.append(path)
    return made


@pytest.mark.parametrize("pool_stride", [2, 3])
def test_training_sees_what_captioning_sees(
    films: list[Path],
    tmp_path: Path,
    captioning: Callable[[LoadedModel], Captioning],
    pool_stride: int,
) -> None:
    """Pixels, features, ids and positions, of films and of parts, in a batch of all of them."""
    loaded = load_model(DEMO_MODEL, model_id="jamak/tiny", pool_stride=pool_stride)
    caption = captioning(loaded)
    for path in films:
        caption.look(path)
    caption.look(films[-1], parts=True)
    asked = caption.requests[: len(films) + len(PARTS)]
    caption.captioner.engine.close()
    rows = [*(row(path) for path in films), *(row(films[-1], *part) for part in PARTS)]
    encoder = encoder_of(loaded, rows, tmp_path, FRAMES)
    clips: Any = encoder.clips
    batch = sft(encoder, *rows)
    placed = positions_of(loaded, batch)
    seen = batch["pixel_values_videos"]
    at = place = 0
    for number, (one, request) in enumerate(zip(rows, asked, strict=True)):
        assert request.pixels is not None
        torch.testing.assert_close(clips.pixels(one.media.key), request.pixels, rtol=0, atol=0)
        assert request.pool_stride == pool_stride
        ids = batch["input_ids"][number][: len(request.ids)]
        assert ids.tolist() == list(request.ids)
        end = place + len(request.ids)
        assert placed[number][: len(request.ids)] == caption.positions[place:end]
        place = end
        alone = caption.captioner.engine._runner.see(request.pixels)
        frames = encoder.clips.frames(one.media.key)
        assert torch.equal(seen[at : at + frames].flatten(0, 1), alone)
        at += frames
    assert at == len(seen)
    assert [encoder.clips.frames(one.media.key) for one in rows] == [4, 4, 1, 4, 4, 4, 4]
    assert not torch.equal(clips.pixels(rows[3].media.key), clips.pixels(rows[5].media.key))
    clips.close()


def positions_of(loaded: LoadedModel, batch: Batch) -> list[list[int]]:
    """That the language model turns by; of one row, they count for all."""
    found: list[torch.Tensor] = []

    def saw(module: Any, arguments: Any, options: Any) -> None:
        found.append({"position_ids": None, **options}["position_ids"])

    rotary = loaded.model.model.language_model.rotary_emb
    hook = rotary.register_forward_pre_hook(saw, with_kwargs=True)
    with torch.no_grad():
        loaded.model(**batch)
    hook.remove()
    [positions] = found
    return positions.expand(len(batch["input_ids"]), -1).tolist()
