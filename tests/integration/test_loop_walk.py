"""The walk of docs/loop.md, from what people say to captions made again: its commands."""

import json
import shlex
import threading
from pathlib import Path

import pytest

from infra.local.stack import DEMO_MODEL
from shared.bucket.records import Records
from shared.messages import Caption, ModelIdentity
from tests.backlogs import caption_of
from tests.pages import block_of, commands_of
from tests.terminal import Said, jamak_here
from tests.trainer import Trainer
from tests.training import make_videos
from tests.world import World
from workers.model.weights import weights_digest

pytestmark = [pytest.mark.integration, pytest.mark.model]

PAGE = Path(__file__).parents[2] / "docs" / "loop.md"
HEADING = "## Once by hand"
SMALL = "steps: 2, batch_size: 2, frames: 2, rank: 4"
"""Of a training, behind what the page says."""
SAID = "아무것도 없습니다."


@pytest.fixture
def films(world: World, tmp_path: Path) -> list[Caption]:
    """What the page calls my-bucket/films: a few films, each with the same caption."""
    records, made = Records(world.store, world.settings), []
    model = ModelIdentity(id="demo", revision="1", weights_sha256=weights_digest(DEMO_MODEL))
    for number, path in enumerate(list(make_videos(tmp_path).values())[:6]):
        video = world.upload(path, f"{world.redis_prefix}/films/a{number}.mp4")
        job = world.job(video)
        caption = caption_of(job).model_copy(update={"text": SAID, "model": model})
        assert records.write(job, caption)
        records.render(caption)
        made.append(caption)
    return made


def test_the_walk_of_the_page_ends_with_captions_made_again(
    walker: pytest.MonkeyPatch,
    walked_trainer: Trainer,
    films: list[Caption],
    world: World,
    tmp_path: Path,
) -> None:
    walker.chdir(tmp_path)
    rules = block_of(PAGE, HEADING, "yaml")
    Path("rules.yaml").write_text(rules.replace("stage: sft", f"stage: sft, {SMALL}"))
    Path("said.jsonl").write_text("".join(_corrected(world, film) for film in films[1:]))
    places = {
        "s3://my-bucket/": f"s3://{world.videos}/{world.redis_prefix}/",
        "s3://jamak-output/": f"s3://{world.output}/{world.prefix}",
    }
    said: dict[str, Said] = {}
    for line in commands_of(PAGE, HEADING):
        for of_the_page, here in places.items():
            line = line.replace(of_the_page, here)
        words = shlex.split(line, comments=True)
        if "VERSION" in words:
            (manifest,) = world.registry.manifests()
            words[words.index("VERSION")] = manifest.version
        done = jamak_here(walker, *words[1:])
        assert done.code == 0, (line, done.err)
        said[" ".join(words[1:])] = done
        if words[1:] == ["retrain"]:
            thread = threading.Thread(target=walked_trainer.run)
            thread.start()
            thread.join(120)
    (dry,) = (one for words, one in said.items() if words == "retrain --dry-run")
    assert "queued" not in dry.out
    (adapter,) = world.registry.manifests()
    assert (adapter.stage, adapter.metrics["n_train"] + adapter.metrics["n_eval_videos"]) == (
        "sft",
        len(films),
    )
    pointer = world.registry.pointer(adapter.base.weights_sha256)
    assert pointer.version == adapter.version
    assert [one.how for one in pointer.history] == ["canary begun", "canary promoted"]
    (again,) = (one for words, one in said.items() if words.startswith("recaption"))
    assert f"{len(films)}" in again.out, again.out
    assert "recaption-" in said["backlog list"].out


def _corrected(world: World, film: Caption) -> str:
    """A line of said.jsonl."""
    told = {
        "kind": "correction",
        "text": f"색 배경에 {SAID}",
        "reviewer": "lee",
        "about": f"s3://{film.video.bucket}/{film.video.key}",
    }
    return json.dumps(told, ensure_ascii=False) + "\n"
