"""`jamak eval`: real films and a real S3 API, the real engine, and what people get to see."""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.stack import DEMO_MODEL
from shared.bucket.keys import parse_uri
from shared.bucket.reports import Reports
from shared.errors import BadData, Unfinished, UsageError
from shared.judged import Judged
from shared.messages import ModelIdentity, decode
from shared.training import AdapterManifest, Replayed
from tests.adapters import make_adapter, publish
from tests.training import make_videos, sft_rows
from tests.verbs import inside
from tests.world import World
from workers.eval.qa_verb import qa
from workers.eval.verb import evaluate
from workers.model.weights import weights_digest

pytestmark = [pytest.mark.integration, pytest.mark.model]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def adapter(world: World, tmp_path_factory: pytest.TempPathFactory) -> AdapterManifest:
    """A random one: it says nothing sensible."""
    base = ModelIdentity(id="tests/tiny", revision="1", weights_sha256=weights_digest(DEMO_MODEL))
    folder = make_adapter(DEMO_MODEL, tmp_path_factory.mktemp("adapter"), seed=1)
    return publish(world.registry, folder, base)


@pytest.fixture(autouse=True)
def patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("JAMAK_MODEL_PATH", str(DEMO_MODEL))
    yield


def in_s3(world: World, videos: dict[str, Path], rows: list[dict[str, Any]]) -> str:
    """A manifest with relative names."""
    folder = f"sets/{uuid.uuid4().hex[:8]}"
    for row in rows:
        world.store.upload(videos[row["id"]], world.videos, f"{folder}/clips/{row['id']}.mp4")
    lines = [{**row, "videos": [{"uri": f"clips/{row['id']}.mp4"}]} for row in rows]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    world.store.put(world.videos, f"{folder}/m.jsonl", body)
    return f"s3://{world.videos}/{folder}/m.jsonl"


def test_an_adapter_is_judged_against_the_base_model_and_the_report_is_kept(
    world: World, videos: dict[str, Path], adapter: AdapterManifest, tmp_path: Path
) -> None:
    data = in_s3(world, videos, sft_rows(videos, held_out="0123"))
    known = tmp_path / "known.jsonl"
    some = [{**row, "source": "<b>own</b>"} for row in sft_rows(videos)[:2]]
    known.write_text("\n".join(json.dumps({**row, "split": None}) for row in some))
    said = inside(
        world,
        evaluate,
        *("--adapter", adapter.version[:6], "--data", data, "--forgetting", str(known)),
        *("--frames", "2", "--out", str(tmp_path / "report"), "--keep", "--json"),
    )
    judged = decode(Judged, said.stdout.splitlines()[-1])
    assert (judged.adapter, judged.against, judged.compared) == (adapter.version, None, True)
    held_out, forgetting = judged.sets
    assert (held_out.name, held_out.videos, held_out.data) == ("held out", 12, data)
    assert (forgetting.name, forgetting.videos) == ("forgetting", 2)
    chrf, logp = (held_out.figures[name] for name in ("chrf", "logp"))
    assert chrf.difference is not None
    assert chrf.difference < 0
    # surely another model, whether it finds such sentences likelier or not
    assert logp.bound(5) * logp.bound(95) > 0
    assert "cider" in held_out.figures
    assert forgetting.left_out["cider"].startswith("2 videos do not tell")
    assert len(held_out.worst) == 10
    assert len(forgetting.worst) == 2

    files = {path.name: path for path in (tmp_path / "report").iterdir()}
    assert set(files) == {"judged.json", "judged.md", "judged.html"}
    assert decode(Judged, files["judged.json"].read_text()) == judged
    page = files["judged.html"].read_text()
    assert page.count("data:image/jpeg;base64,") == 12
    # nothing comes from elsewhere, and nothing that a row says is read as markup
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert "<script" not in page
    assert "<b>own</b>" not in page
    reports = Reports(world.store, world.output, world.prefix)
    assert reports.find(adapter.base.weights_sha256, adapter.version) == judged
    listed = world.store.list(world.output, f"{world.prefix}adapters/")
    assert {"judged.json", "judged.md", "judged.html"} <= {Path(one.key).name for one in listed}

    shown = inside(
        world,
        evaluate,
        *("--adapter", "base", "--against", adapter.version, "--data", str(known)),
        *("--frames", "2"),
    )
    assert re.search(r"logp .* (better|worse)", shown.stdout)
    assert "cider is left out: 2 videos do not tell which words are rare" in shown.stdout


def test_only_what_is_held_out_is_judged(
    world: World, videos: dict[str, Path], adapter: AdapterManifest
) -> None:
    data = in_s3(world, videos, sft_rows(videos))
    said = inside(
        world,
        evaluate,
        *("--adapter", "base", "--against", "none", "--data", data),
        *("--frames", "1", "--json"),
    )
    judged = decode(Judged, said.stdout.splitlines()[-1])
    assert not judged.compared
    assert judged.sets[0].videos == 3
    assert judged.sets[0].figures["chrf"].difference is None
    assert judged.sets[0].figures["logp"].value < 0


@pytest.mark.parametrize("how", ["its own", "replayed", "its parent's"])
def test_nothing_that_either_was_trained_on_is_asked(
    world: World, videos: dict[str, Path], adapter: AdapterManifest, tmp_path: Path, how: str
) -> None:
    """Whichever of the two it was, and however it came to it."""
    rows = [{**row, "split": None} for row in sft_rows(videos)]
    data = in_s3(world, videos, rows)
    bucket, key = parse_uri(data)
    digest = hashlib.sha256(world.store.get(bucket, key)).hexdigest()
    folder = make_adapter(DEMO_MODEL, tmp_path / "another", seed=2)
    learned: dict[str, Any] = {"data_sha256": digest}
    if how == "replayed":
        learned = {"replayed": (Replayed(data=data, data_sha256=digest, rows=3),)}
    taught = publish(world.registry, folder, adapter.base, **learned)
    if how == "its parent's":
        folder = make_adapter(DEMO_MODEL, tmp_path / "child", seed=3)
        taught = publish(world.registry, folder, adapter.base, parent=taught.version)
    said = inside(
        world,
        evaluate,
        *("--adapter", "base", "--against", taught.version, "--data", data),
        *("--frames", "1", "--json"),
    )
    judged = decode(Judged, said.stdout.splitlines()[-1])
    assert judged.sets[0].videos < len(rows) / 2


def test_what_was_judged_is_told_also_if_its_report_cannot_be_kept(
    world: World, videos: dict[str, Path], tmp_path: Path
) -> None:
    data, report = in_s3(world, videos, sft_rows(videos)), tmp_path / "report"
    (report / "judged.html").mkdir(parents=True)
    said = inside(
        world,
        evaluate,
        *("--adapter", "base", "--against", "none", "--data", data),
        *("--frames", "1", "--out", str(report), "--json"),
    )
    assert isinstance(said.exception, Unfinished)
    assert str(said.exception).startswith("what it found could not be written: ")
    assert decode(Judged, said.exception.told).sets[0].videos == 3
    assert said.stdout == ""  # the one object is printed with the error


def test_what_is_wrong_is_said_before_it_is_computed(
    world: World, videos: dict[str, Path], adapter: AdapterManifest, tmp_path: Path
) -> None:
    there = tmp_path / "there.jsonl"
    there.write_text(json.dumps(sft_rows(videos)[0]))

    def refused(*arguments: str, data: str = str(there)) -> str:
        with pytest.raises((UsageError, BadData)) as raised:
            inside(world, evaluate, *arguments, "--data", data)
        return str(raised.value)

    assert "0 adapter versions begin with 'zz'" in refused("--adapter", "zz")
    assert "no folder to keep" in refused("--adapter", "base", "--keep")
    assert "absent.jsonl: there is no such file" in refused(
        "--adapter", "base", data="absent.jsonl"
    )
    down = tmp_path / "down.jsonl"
    row = {**sft_rows(videos)[0], "label": False, "split": None}
    down.write_text(json.dumps(row))
    assert "holds no caption that is right" in refused("--adapter", "base", data=str(down))
    gone = tmp_path / "gone.jsonl"
    gone.write_text(json.dumps({**row, "label": None, "videos": [{"uri": "gone.mp4"}]}))
    assert f"there is no file {tmp_path}/gone.mp4" in refused("--adapter", "base", data=str(gone))


def test_questions_about_videos_are_answered_and_counted_for_each_model(
    world: World, videos: dict[str, Path], adapter: AdapterManifest, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    for number, path in enumerate(list(videos.values())[:2]):
        (tmp_path / "videos" / f"video{number}.mp4").write_bytes(path.read_bytes())
    rows = [
        {"id": n, "question": "what color is it?", "answer": "x", "video_id": n} for n in range(3)
    ]

    def asked(*more: str) -> Any:
        (tmp_path / "test_qa.json").write_text(json.dumps(rows))
        suite = f"msrvtt-qa={tmp_path}"
        arguments = ("--suite", suite, "--adapter", adapter.version, "--frames", "1")
        return inside(world, qa, *arguments, *more)

    with pytest.raises(UsageError, match="msrvtt-qa is there twice"):
        asked("--suite", f"msrvtt-qa={tmp_path}")
    base, other = json.loads(asked("--json").stdout.splitlines()[-1])["models"]
    assert (base["version"], other["version"]) == (None, adapter.version)
    told = base["suites"]["msrvtt-qa"]
    assert (told["questions"], told["accuracy"], told["by_kind"]) == (2, 0, {"what": 0})
    # what the base model says first is right from now on
    said = [one["said"] for one in told["answers"]]
    assert said != [one["said"] for one in other["suites"]["msrvtt-qa"]["answers"]]
    for row, text in zip(rows, said, strict=False):
        row["answer"] = " ".join(text.split()[:2])
    shown = asked()
    assert re.search(r"the base model +100\.0 %", shown.stdout)
    assert re.search(rf"{adapter.version} +0\.0 %", shown.stdout)
    assert "the videos of 1 questions are not there" in shown.stderr
    (tmp_path / "videos" / "video1.mp4").write_bytes(b"no video")
    shown = asked()
    assert re.search(r"the base model +100\.0 %", shown.stdout)
    assert "the videos of 1 questions cannot be read" in shown.stderr
    told = json.loads(asked("--json").stdout.splitlines()[-1])["models"][0]["suites"]["msrvtt-qa"]
    assert (told["questions"], told["left_out"]) == (1, 2)
    (tmp_path / "videos" / "video0.mp4").write_bytes(b"no video")
    with pytest.raises(BadData, match=r"video\d\.mp4"):
        asked()
