"""What training sees of a clip: to the bit what captioning sees, once computed and kept."""

import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import set_seed

from infra.demo.clips import write_film
from infra.local.stack import DEMO_MODEL
from shared.cards import CLASSES
from shared.errors import BadData, OutOfResources
from shared.messages import Cuts, Decoding, Recipe, Segment, Video
from shared.prompts import BASE_PROMPT
from shared.rows import Row
from tests.clips import encoder_of
from tests.training import dpo_rows, make_job, sft_rows
from workers.caption.captioner import EngineCaptioner
from workers.caption.engine import decoder as engine_decoder
from workers.caption.engine.requests import Request
from workers.caption.engine.vision import VisionTower
from workers.caption.features import Kept
from workers.jobs.describe import Describer
from workers.jobs.looks import Film
from workers.jobs.turns import Turns
from workers.model.loading import LoadedModel, load_model
from workers.progress import Progress
from workers.train import ranks
from workers.train.adapter import with_adapter
from workers.train.clips import Clips
from workers.train.collate import Batch, Encoder, SftCollator
from workers.train.data import read_rows
from workers.train.dpo import train_dpo
from workers.train.ending import Ending
from workers.train.feature_files import FeatureFiles
from workers.train.saving import Saving
from workers.train.sft import train_sft
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


class StandingBy(DecoderPool):
    """Whose decoder does not end: to start one takes longer than these tests."""

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    pool = StandingBy(1)
    yield pool
    DecoderPool.close(pool)


def load(**options: Any) -> LoadedModel:
    return load_model(DEMO_MODEL, model_id="jamak/tiny", **options)


class Cut:
    """In parts, in place of scenes; nothing is kept of them."""

    def cuts(self, make: Callable[[], Cuts]) -> Cuts:
        return Cuts(segments_s=PARTS, reason="these")

    def segment(
        self, number: int, make: Callable[[], Segment], canary: int | None = None
    ) -> Segment:
        return make()


class Captioning:
    """The captioner as jobs use it, and what reaches its engine."""

    def __init__(
        self, loaded: LoadedModel, decoders: DecoderPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.loaded, self.decoders = loaded, decoders
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

        def opening() -> Any:
            return self.decoders.open(file_source(path), Progress(), FRAMES)

        with Turns().of(Progress()) as turn, Film(video, Kept(0), turn, opening) as film:
            if parts:
                cut: Any = Cut()
                describer.describe_parts(
                    film, cut, before_each=lambda *_: None, before_write=lambda _: None
                )
            else:
                describer.describe(describer.look(film))


@pytest.fixture
def captioning(
    decoders: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> Callable[[LoadedModel], Captioning]:
    return lambda loaded: Captioning(loaded, decoders, monkeypatch)


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
    decoders: DecoderPool,
    films: list[Path],
    tmp_path: Path,
    captioning: Callable[[LoadedModel], Captioning],
    pool_stride: int,
) -> None:
    """Pixels, features, ids and positions, of films and of parts, in a batch of all of them."""
    loaded = load(pool_stride=pool_stride)
    caption = captioning(loaded)
    for path in films:
        caption.look(path)
    caption.look(films[-1], parts=True)
    asked = caption.requests[: len(films) + len(PARTS)]
    caption.captioner.engine.close()
    rows = [*(row(path) for path in films), *(row(films[-1], *part) for part in PARTS)]
    encoder = encoder_of(loaded, rows, tmp_path, FRAMES, decoders=decoders)
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


def test_an_image_is_a_film_of_one_frame(
    decoders: DecoderPool,
    tmp_path: Path,
    captioning: Callable[[LoadedModel], Captioning],
) -> None:
    """The same pixels, ids and features as captioning gives a film of that one picture; turned as
    its Exif says."""
    picture = np.random.default_rng(3).integers(0, 255, (60, 90, 3)).astype(np.uint8)
    write_lossless(tmp_path / "one.mkv", picture)
    Image.fromarray(picture).save(tmp_path / "still.png")
    turn = Image.Exif()
    turn[0x112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=turn, quality=100, subsampling=0)
    write_lossless(tmp_path / "turned.mkv", np.rot90(picture, -1))
    loaded = load()
    caption = captioning(loaded)
    caption.look(tmp_path / "one.mkv")
    caption.look(tmp_path / "turned.mkv")
    still, turned = (image(tmp_path / name) for name in ("still.png", "turned.jpg"))
    encoder = encoder_of(loaded, [still, turned], tmp_path, FRAMES, decoders=decoders)
    clips: Any = encoder.clips
    first, second = caption.requests
    assert first.pixels is not None and second.pixels is not None
    assert torch.equal(clips.pixels(still.media.key), first.pixels)
    assert (clips.pixels(turned.media.key) - second.pixels).abs().mean() < 0.02  # JPEG is lossy
    batch = sft(encoder, still)
    assert batch["input_ids"][0][: len(first.ids)].tolist() == list(first.ids)
    alone = caption.captioner.engine._runner.see(first.pixels)
    assert torch.equal(batch["pixel_values_videos"].flatten(0, 1), alone)
    caption.captioner.engine.close()


def image(path: Path) -> Row:
    whole = row(path)
    return whole.model_copy(update={"images": whole.videos, "videos": ()})


def write_lossless(path: Path, picture: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "bgr0"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode(None))


def test_what_is_no_image_and_parts_beyond_the_end_are_refused_by_row(
    decoders: DecoderPool,
    films: list[Path],
    tmp_path: Path,
) -> None:
    loaded = load()
    (tmp_path / "picture.tiff").write_bytes(b"II*\0" + bytes(100))
    for one, words in (
        (image(films[0]), r"row 'wide.mp4 None': its image .* is of format mp4, and no image"),
        (image(tmp_path / "picture.tiff"), "of format TIFF"),
        (row(films[3], 2.5), r"row 'long.mp4 2.5': its part begins at 2.5 s, .* ends at 2 s"),
        (row(tmp_path / "none.mp4"), "row 'none.mp4 None': its video cannot be used"),
    ):
        with pytest.raises(BadData, match=words):
            encoder_of(loaded, [one], tmp_path, FRAMES, decoders=decoders)
    photo = image(tmp_path / "photo.png")
    Image.new("RGB", (4000, 3000)).save(tmp_path / "photo.png", compress_level=1)
    with pytest.raises(BadData, match=r"its pictures have more than \d+ pixels") as caught:
        encoder_of(loaded, [photo], tmp_path, FRAMES, decoders=decoders)
    assert "JAMAK_MAX_PIXELS" in caught.value.cure


def test_the_next_epoch_and_the_next_job_neither_decode_nor_look(
    decoders: DecoderPool,
    films: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load()
    rows = [*map(row, films), row(films[3], 0.5, 1.5)]
    first = sft(encoder_of(loaded, rows, tmp_path, FRAMES, decoders=decoders), *rows)

    def never(*_: Any) -> Any:
        raise AssertionError("it was looked at again")

    monkeypatch.setattr(DecoderPool, "open", never)
    monkeypatch.setattr(VisionTower, "__call__", never)
    encoder = encoder_of(load(), rows, tmp_path, FRAMES, decoders=decoders)
    for _ in range(2):
        again = sft(encoder, *rows)
        assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_features_are_of_one_tower_one_preprocessing_and_one_choice_of_frames(
    decoders: DecoderPool,
    films: list[Path],
    tmp_path: Path,
) -> None:
    """Of anything else they are looked at anew; an adapter and the language model are nothing to
    them."""

    def names(loaded: LoadedModel, frames: int = FRAMES) -> set[str]:
        rows, files = [row(films[3]), row(films[3], 0.5)], FeatureFiles(tmp_path, 0)
        clips = Clips(rows, Path("/"), decoders, loaded, files, frames=frames)
        return {clips._name(key) for key in clips._firsts}

    known = names(load())
    assert len(known) == 2
    other = load()
    with torch.no_grad():
        other.model.lm_head.weight.add_(1)
        other.model.model.multi_modal_projector.linear_1.weight.add_(1)
    with_adapter(other, make_job(), None)
    assert names(other) == known
    changed = load()
    with torch.no_grad():
        changed.model.model.vision_tower.encoder.layers[0].mlp.fc1.bias[0] += 1e-3
    brighter = replace(load().preprocessor, mean=(0.5, 0.5, 0.5))
    for found in (
        names(changed),
        names(load(), frames=2),
        names(load(pool_stride=3)),
        names(load(dtype="bfloat16")),
        names(replace(load(), preprocessor=brighter)),
    ):
        assert not found & known


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_losses_are_those_without_a_cache_to_the_last_bit(
    decoders: DecoderPool,
    videos: dict[str, Path],
    tmp_path: Path,
    stage: Literal["sft", "dpo"],
) -> None:
    made = (sft_rows if stage == "sft" else dpo_rows)(videos)[:6]
    rows = read_rows("\n".join(json.dumps(one) for one in made), stage, BASE_PROMPT)
    train: Any = train_sft if stage == "sft" else train_dpo
    job = make_job(stage=stage, steps=2, batch_size=3)

    def losses(folder: Path, most: int) -> list[float]:
        loaded = load()
        encoder = encoder_of(loaded, rows, folder, most=most, decoders=decoders)
        set_seed(job.seed)
        model = with_adapter(loaded, job, None)
        found: list[float] = train(model, encoder, rows, job, Saving(folder, "", Ending()))
        return found

    kept = losses(tmp_path, 1 << 30)
    assert len(kept) == 2
    assert losses(tmp_path / "again", 0) == kept


def test_the_model_says_of_features_what_transformers_says_of_frames(
    decoders: DecoderPool,
    films: list[Path],
    tmp_path: Path,
) -> None:
    """Not to the last bit: whose frames are multiplied together is another matter there."""
    loaded = load()
    rows = list(map(row, films))
    encoder = encoder_of(loaded, rows, tmp_path, FRAMES, decoders=decoders)
    clips: Any = encoder.clips
    batch = sft(encoder, *rows)
    frames = torch.cat([clips.pixels(one.media.key) for one in rows])[None]
    with torch.no_grad():
        ours = loaded.model(**batch)
        theirs = loaded.model(**{**batch, "pixel_values_videos": frames})
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.loss, theirs.loss, atol=1e-5, rtol=1e-5)


def test_few_clips_are_decoded_ahead_of_what_looks_at_them(
    films: list[Path], tmp_path: Path, decoders: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a set that is larger than memory would fill it."""
    begun: list[str] = []

    def pixels(clips: Clips, key: str) -> torch.Tensor:
        begun.append(key)
        return torch.zeros(1)

    monkeypatch.setattr(Clips, "pixels", pixels)
    files = FeatureFiles(tmp_path, 0)
    clips = Clips([row(films[3])], Path("/"), decoders, load(), files, frames=FRAMES)
    ahead = clips._decoded(map(str, range(12)), clips.pixels)
    for done in range(1, 4):
        next(ahead)
        time.sleep(0.05)  # all the time that a decoder wants
        assert len(begun) <= done + decoders.size
    ahead.close()


def test_a_set_that_is_larger_than_its_room_is_trained_on_all_the_same(
    decoders: DecoderPool,
    films: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has room is kept, and stays; the rest is looked at when its turn comes. No clip stays
    in memory, and no more are decoded ahead than there are decoders."""
    loaded = load()
    rows = [row(films[3], at / 20) for at in range(12)]
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0
    pixels = Clips.pixels

    def counted(clips: Clips, key: str) -> torch.Tensor:
        nonlocal most
        made = pixels(clips, key)
        alive.append(weakref.ref(made))
        most = max(most, sum(one() is not None for one in alive))
        return made

    monkeypatch.setattr(Clips, "pixels", counted)
    encoder = encoder_of(loaded, rows, tmp_path, FRAMES, most=5 * 20_000, decoders=decoders)
    assert most <= 3  # one decoder: one ahead, one in hand, one on its way
    kept = list((tmp_path / "features").glob("*.safetensors"))
    assert 0 < len(kept) < len(rows)
    alive.clear()
    batch = sft(encoder, *rows)
    assert len(alive) == len(rows) - len(kept)
    whole = sft(encoder_of(loaded, rows, tmp_path / "all", FRAMES, decoders=decoders), *rows)
    assert torch.equal(batch["pixel_values_videos"], whole["pixel_values_videos"])
    assert sorted((tmp_path / "features").glob("*.safetensors")) == sorted(kept)


def test_the_processes_of_one_training_share_the_looking_and_agree_on_what_is_unreadable(
    decoders: DecoderPool,
    films: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One video is too slow to decode, and the process that finds it so is not the first one."""
    rows = [row(films[3], at / 20) for at in range(4)]
    slow = rows[1].media.key
    here, pixels = threading.local(), Clips.pixels
    looked: list[tuple[int, str]] = []

    def counted(clips: Clips, key: str) -> torch.Tensor:
        looked.append((clips.of_rank, key))  # type: ignore[attr-defined]
        if key == slow:
            raise BadData("it is too slow", cure="Leave it out.")
        return pixels(clips, key)

    monkeypatch.setattr(Clips, "pixels", counted)
    monkeypatch.setattr(ranks, "rank", lambda: here.rank)
    monkeypatch.setattr(ranks, "count", lambda: 2)

    models = load(), load()

    def prepare(rank: int) -> tuple[dict[str, BadData], list[int | None]]:
        here.rank = rank
        files = FeatureFiles(tmp_path / "features", 1 << 30)
        clips = Clips(rows, tmp_path, decoders, models[rank], files, frames=FRAMES)
        clips.of_rank = rank  # type: ignore[attr-defined]
        unreadable = clips.prepare(lambda done, total: None, {slow})
        return unreadable, [clips._frames.get(one.media.key) for one in rows]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(prepare, range(2)))
    for unreadable, frames in found:
        assert {key: (str(why), why.cure) for key, why in unreadable.items()} == {
            slow: ("it is too slow", "Leave it out.")
        }
        assert frames == [FRAMES, None, FRAMES, FRAMES]
    keys = [one.media.key for one in rows]
    assert sorted(looked) == sorted([(0, keys[0]), (1, keys[1]), (0, keys[2]), (1, keys[3])])


def test_what_could_be_read_before_is_no_fault_of_the_data(
    decoders: DecoderPool, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that goes on, on a machine on which a video is too slow to decode."""

    def clips(folder: str) -> Clips:
        files = FeatureFiles(tmp_path / folder, 1 << 30)
        return Clips([row(films[3])], tmp_path, decoders, load(), files, frames=FRAMES)

    first, elsewhere, anew = map(clips, ("first", "elsewhere", "anew"))
    first.prepare(lambda done, total: None)

    def too_slow(clips: Clips, key: str) -> torch.Tensor:
        raise BadData("it is too slow")

    monkeypatch.setattr(Clips, "pixels", too_slow)
    assert not elsewhere.prepare(lambda done, total: None, before=first.looked)
    with pytest.raises(OutOfResources, match="it is too slow; it could be read before"):
        elsewhere.features([row(films[3]).media.key])
    with pytest.raises(BadData):
        anew.prepare(lambda done, total: None)
