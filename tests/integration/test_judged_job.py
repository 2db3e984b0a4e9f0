"""A training job in a bucket with a policy: what it trained is judged by the engine, published with
its report, and goes on trial or not."""

import json
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.stack import DEMO_MODEL
from shared.bucket.checkpoints import Checkpoints
from shared.bucket.registry import Registry, never_moved
from shared.bucket.reports import POLICY, Reports
from shared.errors import ConfigError
from shared.policy import read_policy
from shared.settings import Settings
from tests.adapters import make_adapter, publish
from tests.training import make_job, make_videos, sft_rows
from tests.world import World
from workers.progress import Progress
from workers.train.job import _activate_if_better, run_train_job
from workers.train.judged_job import Verdict

pytestmark = [pytest.mark.integration, pytest.mark.model]


def test_what_passes_goes_on_trial_and_what_does_not_keeps_its_report_and_the_reason(
    world: World, tmp_path: Path
) -> None:
    videos = make_videos(tmp_path)
    store, folder = world.store, f"judged-{uuid.uuid4().hex[:8]}/"
    settings = Settings(
        model="jamak/tiny",
        model_revision="r1",
        model_path=DEMO_MODEL,
        scratch_dir=tmp_path,
        output=f"s3://{world.output}/{folder}",
    )
    registry, reports = (kind(store, world.output, folder) for kind in (Registry, Reports))
    # nine of twelve are held out, and two of what it learns are what it is not to forget
    rows = [
        {**row, "videos": [{"uri": f"clips/{row['id']}.mp4"}]}
        for row in sft_rows(videos, held_out="123")
    ]
    for name, path in videos.items():
        store.upload(path, world.output, f"{folder}set/clips/{name}.mp4")
    # one more is held out, and cannot be decoded
    store.put(world.output, f"{folder}set/clips/torn.mp4", b"no video")
    torn = {
        "id": "torn",
        "videos": [{"uri": "clips/torn.mp4"}],
        "completion": "개",
        "split": "eval",
    }
    known = [{**row, "split": None} for row in rows if row["split"] == "train"][:2]
    for name, some in (("manifest", [*rows, torn]), ("known", known)):
        body = "\n".join(map(json.dumps, some)).encode()
        store.put(world.output, f"{folder}set/{name}.jsonl", body)
    uri = f"s3://{world.output}/{folder}set"
    job = make_job(data=f"{uri}/manifest.jsonl", steps=30, skip_unfit=True)

    def run(**changed: object) -> tuple[str, str | None]:
        asked = job.model_copy(update=changed)
        runs = Checkpoints(store, world.output, folder, asked.id, "worker", lambda: None)
        manifest, why = run_train_job(
            asked,
            settings,
            store,
            registry,
            progress := Progress(),
            lambda: None,
            registry.pointers(),
            runs,
        )
        stages = [*progress.timings_s()]  # in the order in which they began
        assert stages.index("download") < stages.index("train") < stages.index("judge")
        return manifest.version, why

    store.put(world.output, f"{folder}adapters/{POLICY}", b"marigns: {}")
    with pytest.raises(ConfigError, match=r"policy\.yaml: marigns"):
        run()
    # what is in use says nothing sensible, so that it is easily surpassed
    policy = f"{{canary: 20%, rise: 5, forgetting: {{data: {uri}/known.jsonl}}}}"
    store.put(world.output, f"{folder}adapters/{POLICY}", policy.encode())
    version, why = run()
    assert why == "it is on trial first, with 20 % of the captions"
    [base] = registry.bases()
    pointer = registry.pointer(base)
    assert pointer.version is None
    assert pointer.canary is not None
    assert (pointer.canary.version, pointer.canary.share) == (version, 0.2)
    assert pointer.canary.paired
    assert pointer.history[-1].by == "gate"

    judged = reports.find(base, version)
    assert judged is not None
    assert (judged.adapter, judged.against, judged.frames) == (version, None, job.frames)
    held_out, forgetting = judged.sets
    assert (held_out.videos, forgetting.videos) == (9, 2)
    assert held_out.figures["exact"].value == 1
    assert held_out.figures["logp"].bound(5) > 0
    html = store.get(world.output, f"{folder}adapters/{base[:12]}/{version}/judged.html")
    assert html.count(b"data:image/jpeg") == 11

    # the same report before a stricter policy, and while another one is on trial
    manifest = registry.manifest(base, version)
    verdict = Verdict(judged, {}, read_policy(b"rise: 99", "policy"))

    def decided(verdict: Verdict) -> str | None:
        seen = {base[:12]: registry.pointer(base)}
        return _activate_if_better(job, manifest, registry, seen, verdict)

    assert decided(verdict) == "it is on trial first, with 20 % of the captions"
    registry.end_canary(base, by="operator")
    before = registry.pointer(base)
    reason = decided(verdict)
    assert reason is not None
    assert reason.startswith("chrf got better by")
    passing = replace(verdict, policy=read_policy(b"canary: false", "policy"))
    other = publish(registry, make_adapter(DEMO_MODEL, tmp_path, seed=3), manifest.base)
    stranger = replace(passing, judged=judged.model_copy(update={"against": other.version}))
    assert "judge it again" in str(decided(stranger))
    assert registry.pointer(base) == before
    assert _activate_if_better(job, manifest, registry, {}, passing) is not None  # it was moved
    registry.begin_canary(base, other.version, 0.1, paired=False, by="operator")
    trying = replace(passing, policy=read_policy(b"", "policy"))
    assert other.version in str(decided(trying))
    registry.end_canary(base, by="operator")
    assert decided(passing) is None
    assert registry.pointer(base).version == version
    assert never_moved().version is None
