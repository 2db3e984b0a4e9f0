"""The Procfile's captioner, exactly as it is written there."""

import os
import re
import shlex
import sys
from pathlib import Path

from infra.local.metrics import is_ready, read_metrics
from infra.local.ports import free_port
from infra.local.procfile import ROOT, read_procfile
from infra.local.stack import DEMO_MODEL
from shared.telemetry.metrics import KNOWN
from tests.warm import WarmProcess
from tests.world import World


class Captioner:
    def __init__(self, world: World, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.process = WarmProcess(
            "captioner",
            shlex.split(read_procfile()["captioner"].removeprefix("exec ")),
            log=folder / f"captioner-{self.port}.log",
            env={
                **os.environ,
                **world.env,
                "JAMAK_MODEL_PATH": str(DEMO_MODEL),
                "JAMAK_METRICS_PORT": str(self.port),
                "JAMAK_MAX_VIDEO_BYTES": "200000",
                "JAMAK_SCRATCH_DIR": str(folder),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **settings,
            },
            cwd=ROOT,
        )

    def wait(self) -> None:
        """Raises ProcessFailed: it refuses to start."""
        self.process.wait_until(lambda: is_ready(self.port), 90)

    def metric(self, name: str, **labels: str) -> float:
        """0 for one that was never counted."""
        assert re.sub("_(bucket|count|sum)$", "", name) in KNOWN
        return sum(
            sample.value
            for sample in read_metrics(self.port)
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def adapter(self) -> str | None:
        """The version in use, as the metrics say it; None = just now none is named."""
        versions = [
            sample.labels["version"]
            for sample in read_metrics(self.port)
            if sample.name == "jamak_adapter_info"
        ]
        return versions[0] if versions else None
