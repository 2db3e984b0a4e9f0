"""A training job's adapter is judged before it is published, where the bucket has a policy: against
what is in use, on the job's held-out rows and on what it is not to forget.

Knows S3, and nothing of torch or the model.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.bucket.registry import Registry
from shared.bucket.reports import REPORT, Reports
from shared.bucket.storage import ObjectStore
from shared.judged import FORGETTING, HELD_OUT, Judged
from shared.messages import decode
from shared.policy import Policy, objections
from shared.rows import Row
from shared.settings import Settings
from shared.training import AdapterManifest, TrainJob
from workers.progress import Progress
from workers.train.data import keep_rows, kept_rows
from workers.train.examine import with_reference
from workers.train.judged_sets import JudgedRows, fetch_set


@dataclass(frozen=True)
class Verdict:
    """By a policy."""

    judged: Judged
    files: Mapping[str, bytes]
    """Of the report: name -> content."""
    policy: Policy

    @property
    def why_not(self) -> str | None:
        """Why it may not go into use; None = it may."""
        return "; ".join(objections(self.policy, self.judged)) or None


class Judging:
    """Of one job."""

    def __init__(
        self,
        job: TrainJob,
        settings: Settings,
        store: ObjectStore,
        registry: Registry,
        workdir: Path,
        progress: Progress,
    ) -> None:
        self._job, self._settings, self._store = job, settings, store
        self._registry, self._workdir, self._progress = registry, workdir, progress
        self._reports = Reports(store, settings.output_bucket, settings.output_prefix)
        self.policy = self._reports.policy()
        """Read before anything is trained; a broken one ends the job there."""
        self._known: list[JudgedRows] = []

    def fetch(self) -> None:
        """What is not to be forgotten, before anything is trained.

        Raises:
            Missing, Forbidden, BadData: it cannot be read.
        """
        if self.policy is not None:
            self._known = self._forgetting(self.policy)

    def verdict(self, manifest: AdapterManifest, judge_apart: Callable[[], None]) -> Verdict | None:
        """None: there is no policy, so what the training measured itself decides.

        Args:
            judge_apart: judges what lies in the working directory (own_process.py).

        Raises:
            And what `judge_apart` raises.
        """
        if self.policy is None:
            return None
        self._progress.tick("judge")
        base = manifest.base.weights_sha256
        against = self._registry.pointer(base).version
        if against is not None:
            self._registry.download(
                base, against, self._workdir / "against", lambda: self._progress.tick("judge")
            )
        sets = [self._held_out(manifest), *self._known]
        told = [
            {"name": one.name, "data": one.data, "data_sha256": one.data_sha256}
            | {"rows": self._written(number, one.rows)}
            for number, one in enumerate(sets)
        ]
        asked = {"version": manifest.version, "against": against, "sets": told}
        (self._workdir / "judge.json").write_text(json.dumps(asked), encoding="utf-8")
        judge_apart()
        folder = self._workdir / "judged"
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        return Verdict(decode(Judged, files[REPORT]), files, self.policy)

    def keep(self, verdict: Verdict, manifest: AdapterManifest) -> None:
        """Its report, beside the version that it is about."""
        self._reports.write(manifest.base.weights_sha256, manifest.version, verdict.files)

    def _held_out(self, manifest: AdapterManifest) -> JudgedRows:
        job = self._job
        rows = kept_rows(self._workdir / "rows.jsonl")
        held_out = with_reference([row for row in rows if row.split == "eval"])
        return JudgedRows(HELD_OUT, job.data, manifest.data_sha256, held_out)

    def _forgetting(self, policy: Policy) -> list[JudgedRows]:
        if policy.forgetting is None:
            return []
        found = fetch_set(
            FORGETTING,
            policy.forgetting.data,
            self._store,
            self._workdir,
            prompt=self._job.prompt,
            most=self._settings.max_video_bytes,
            tick=lambda: self._progress.tick("download"),
        )
        return [found]

    def _written(self, number: int, rows: Sequence[Row]) -> str:
        name = f"judged-{number}.jsonl"
        keep_rows(self._workdir / name, rows)
        return name
