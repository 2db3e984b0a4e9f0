"""`jamak data validate` and `stats`: a real S3 API, real films, the tokenizer of a model."""

import hashlib
import io
import json
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from boto3.s3.transfer import TransferConfig
from PIL import Image

from infra.local.stack import DEMO_MODEL
from tests.terminal import jamak_here
from tests.videos import cut, write_clip
from tests.world import World

pytestmark = pytest.mark.integration

KOREAN = "빨간 원이 왼쪽으로 움직입니다."


@pytest.fixture(autouse=True)
def patch(monkeypatch: pytest.MonkeyPatch, world: World) -> Iterator[pytest.MonkeyPatch]:
    for name, value in {**world.env, "JAMAK_MODEL_PATH": str(DEMO_MODEL)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAMAK_MAX_NEW_TOKENS", "40")
    yield monkeypatch


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [write_clip(folder / f"{n}.mp4", 12 + n) for n in range(4)]


class Set:
    """Films and a manifest in a folder of their own, in S3 or here."""

    def __init__(self, world: World | None, folder: str) -> None:
        self.world, self.folder = world, folder
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, content: bytes, **fields: Any) -> None:
        if self.world:
            self.world.store.put(self.world.videos, self.folder + name, content)
        else:
            (Path(self.folder) / name).write_bytes(content)
        self.say(name, **fields)

    def say(self, name: str, uri: str | None = None, **fields: Any) -> None:
        media = {"uri": uri or name, **fields.pop("media", {})}
        self.rows.append({"id": name, "videos": [media], "completion": KOREAN, **fields})

    def write(self) -> str:
        body = "\n".join(json.dumps(one, ensure_ascii=False) for one in self.rows).encode()
        if self.world:
            self.world.store.put(self.world.videos, f"{self.folder}m.jsonl", body)
            return f"s3://{self.world.videos}/{self.folder}m.jsonl"
        (Path(self.folder) / "m.jsonl").write_bytes(body)
        return str(Path(self.folder) / "m.jsonl")


@pytest.fixture(params=["s3", "here"])
def place(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Set:
    return (
        Set(world, f"sets/{uuid.uuid4().hex[:8]}/")
        if request.param == "s3"
        else Set(None, str(tmp_path))
    )


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def validated(patch: pytest.MonkeyPatch, *arguments: str, code: int = 0) -> dict[str, Any]:
    said = jamak_here(patch, "data", "validate", *arguments, "--frames", "2", "--json")
    assert said.code == code, said.err
    return dict(json.loads(said.out))


def test_all_that_is_wrong_with_a_set_is_told_at_once(
    patch: pytest.MonkeyPatch, place: Set, films: list[Path], tmp_path: Path
) -> None:
    whole = films[0].read_bytes()
    place.add("a.mp4", whole, split="eval")
    place.add("b.mp4", films[1].read_bytes())
    place.add("같은.mp4", whole)  # the same bytes under another name, on the other side
    place.add("cut.mp4", cut(tmp_path / "cut", films[2], 0.2).read_bytes())
    place.add("empty.mp4", b"")
    place.say("gone.mp4")
    place.say("apart", unicodedata.normalize("NFD", "같은.mp4"))
    place.add("still.png", png())
    place.rows[-1]["images"] = place.rows[-1].pop("videos")
    place.say("outside", "b.mp4", media={"start": 30.0})
    place.say("stale", "a.mp4", media={"sha256": "0" * 64}, split="eval")
    place.say("cut off", "b.mp4", completion="뚫렸 " * 40)
    place.say("decomposed", "b.mp4", completion=unicodedata.normalize("NFD", KOREAN))
    place.rows.append({"id": "no medium", "completion": KOREAN})
    told = validated(patch, place.write(), code=1)
    found = {one["kind"]: one for one in told["findings"]}
    reasons = {one["id"]: one["what"] for one in found["unreadable"]["rows"]}
    assert set(reasons) == {
        "cut.mp4",
        "empty.mp4",
        "gone.mp4",
        "apart",
        "outside",
        "a.mp4",
        "stale",
    }
    assert "0 bytes" in reasons["empty.mp4"]
    assert "same letters in another form (NFC)" in reasons["apart"]
    assert "its part begins at 30.0 s, and the video ends at 1.08333 s" in reasons["outside"]
    assert "its SHA-256 is " + hashlib.sha256(whole).hexdigest() in reasons["stale"]
    assert [one["id"] for one in found["line"]["rows"]] == ["line 13"]
    assert [one["id"] for one in found["too_long"]["rows"]] == ["cut off"]
    assert [one["id"] for one in found["decomposed"]["rows"]] == ["decomposed"]
    assert [one["id"] for one in found["leak"]["rows"]] == ["a.mp4", "stale", "같은.mp4"]
    assert told["error"]["exit_code"] == 1
    assert (told["errors"], told["rows"]) == (4, 12)
    seen = {one["class"]: one for one in told["classes"]}
    assert seen["h100"]["needs"] > seen["t4"]["needs"] > 40


def test_what_only_people_can_judge_is_no_error(
    patch: pytest.MonkeyPatch, place: Set, films: list[Path]
) -> None:
    for n, film in enumerate(films):
        place.add(f"{n}.mp4", film.read_bytes())
    place.say("english", "0.mp4", completion="A red circle")
    manifest = place.write()
    told = validated(patch, manifest)
    assert (told["errors"], [one["kind"] for one in told["findings"]]) == (
        0,
        ["little_korean", "few_held_out"],
    )
    people = jamak_here(patch, "data", "validate", manifest, "--no-media")
    assert people.code == 0
    assert "warning texts of which less than half" in people.out
    patch.setenv("JAMAK_LANG", "ko")
    assert "english" in jamak_here(patch, "data", "validate", manifest, "--no-media").out


def test_the_same_bytes_are_found_however_they_were_uploaded(
    patch: pytest.MonkeyPatch, world: World, tmp_path: Path
) -> None:
    """In parts, the same content has another ETag."""
    place = Set(world, f"sets/{uuid.uuid4().hex[:8]}/")
    film = write_clip(tmp_path / "large.mp4", 24, size=(640, 480), options={"qp": "0"})
    with film.open("ab") as file:  # free space at its end
        file.write((6 << 20).to_bytes(4) + b"free" + bytes((6 << 20) - 8))
    place.add("one.mp4", film.read_bytes(), split="train")
    place.say("parts.mp4", split="eval")
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    boto3.client("s3").upload_file(
        str(film), world.videos, f"{place.folder}parts.mp4", Config=parts
    )
    etags = {world.store.head(world.videos, place.folder + one["id"]).etag for one in place.rows}
    assert len(etags) == 2
    told = validated(patch, place.write(), code=1)
    (leak,) = (one for one in told["findings"] if one["level"] == "error")
    assert [one["id"] for one in leak["rows"]] == ["one.mp4", "parts.mp4"]


def test_a_manifest_that_is_not_there_is_an_argument_that_is_wrong(
    patch: pytest.MonkeyPatch, world: World, tmp_path: Path
) -> None:
    said = jamak_here(patch, "data", "validate", str(tmp_path / "none.jsonl"))
    assert (said.code, "there is no such file" in said.err) == (2, True)
    said = jamak_here(patch, "data", "validate", f"s3://{world.videos}/none.jsonl")
    assert said.code == 2


def test_stats_count_and_draw(
    patch: pytest.MonkeyPatch, place: Set, films: list[Path], tmp_path: Path
) -> None:
    for n, film in enumerate(films):
        place.add(f"{n}.mp4", film.read_bytes(), split="train" if n else "eval", source="AI-Hub")
    place.say(
        "part", "1.mp4", media={"start": 0.25, "end": 0.75}, completion="노란 원", split="train"
    )
    manifest, picture = place.write(), tmp_path / "stats.png"
    said = jamak_here(patch, "data", "stats", manifest, "--frames", "2", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    groups = {(one["column"], one["value"]): one for one in told["groups"]}
    assert groups["split", "train"]["rows"] == 4
    assert groups["source", "AI-Hub"]["media"] == 4
    assert groups["split", "eval"]["seconds"] == pytest.approx(1.0)
    spreads = told["spreads"]
    assert (spreads["frames"]["least"], spreads["frames"]["n"]) == (2, 5)
    assert spreads["seconds"]["least"] == pytest.approx(0.5)
    assert (spreads["syllables"]["least"], spreads["syllables"]["most"]) == (3, 13)
    shown = jamak_here(patch, "data", "stats", manifest, "--no-media", "--out", str(picture))
    assert shown.code == 0, shown.err
    assert "AI-Hub" in shown.out
    assert f"histograms: {picture}" in shown.out
    with Image.open(picture) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels == (0x4C, 0x72, 0xB0)).all(axis=2).sum() > 1000  # bars
    picture.unlink()
    words = ("--stage", "dpo", "--no-media", "--out", str(picture))
    shown = jamak_here(patch, "data", "stats", manifest, *words)  # they are captions
    assert shown.code == 0, shown.err
    assert "there is nothing to draw" in shown.err
    assert "there are errors in it: " in shown.err
    assert not picture.exists()
