"""The walk of docs/training.md, from a folder of AI-Hub's files to an adapter: its commands."""

import json
import shlex
import threading
from pathlib import Path

import pytest

from shared.training import AdapterManifest
from tests.pages import block_of, commands_of
from tests.terminal import Said, jamak_here
from tests.trainer import Trainer
from tests.training import make_videos
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model]

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
HEADING = "## From a folder of AI-Hub's files to an adapter"
SMALL = ["--steps", "2", "--batch-size", "2", "--frames", "2", "--rank", "4"]
"""Of a training, behind what the page says."""


@pytest.fixture
def folder(world: World, tmp_path: Path) -> str:
    """What the page calls my-bucket: labels/ and clips/ of six films."""
    folder = f"{world.prefix}walk"
    for name, path in make_videos(tmp_path).items():
        if name[-1] not in "01":
            continue
        world.store.upload(path, world.output, f"{folder}/clips/{name}.mp4")
        label = json.loads(block_of(PAGE, HEADING, "json"))
        (entry, *_) = label["trigger_info"]
        entry["timestamps"][1] = "0:01.00000"
        entry["trigger_action"] = f"{name[:-1]} 배경에 아무것도 없습니다."
        label.update(video_name=f"{name}.mp4", duration=1.0, trigger_info=[entry])
        body = json.dumps(label, ensure_ascii=False).encode()
        world.store.put(world.output, f"{folder}/labels/{name}.json", body)
    return f"{world.output}/{folder}"


def test_the_walk_of_the_page_ends_with_an_adapter(
    walker: pytest.MonkeyPatch, walked_trainer: Trainer, folder: str, world: World, tmp_path: Path
) -> None:
    walker.chdir(tmp_path)
    said: dict[str, Said] = {}
    for line in commands_of(PAGE, HEADING):
        words = shlex.split(line.replace("my-bucket", folder))
        if "VERSION" in words:
            words[words.index("VERSION")] = newest(world).version
        if words[1:3] in (["train", "align"], ["train", "sft"]):
            thread = threading.Thread(target=walked_trainer.run)
            thread.start()
            done = jamak_here(walker, *words[1:], *SMALL)
            thread.join(60)
        else:
            done = jamak_here(walker, *words[1:])
        assert done.code == 0, (line, done.err)
        said[" ".join(words[1:3])] = done
    assert list(said) == [
        *("data import", "data split", "data validate", "data stats"),
        *("train align", "train sft", "train list", "adapters list"),
    ]
    adapter = newest(world)
    assert (adapter.stage, adapter.train_job.steps) == ("sft", 2)
    (aligned,) = (one for one in world.registry.manifests() if one.stage == "align")
    assert adapter.parent == aligned.version
    assert adapter.version[:12] in said["adapters list"].out
    assert (tmp_path / "stats.png").read_bytes()[:4] == b"\x89PNG"
    assert adapter.metrics["n_eval_videos"] >= 1
    assert said["train list"].out.count("fewer than 8 do not prove") == 2


def newest(world: World) -> AdapterManifest:
    return max(world.registry.manifests(), key=lambda one: one.created_at)
