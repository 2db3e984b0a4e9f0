"""A small fleet sits for its picture: six minutes of real work, watched by a real Prometheus.

    python -m infra.grafana.sitting docs/images/fleet.svg

The local stack, with a second captioner that acts as a larger card and is killed once. Films of the
demo are uploaded one by one and in bursts, a backlog runs beside them, and some files are no films.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.demo.clips import Clip, film
from infra.demo.scenes import sample_scenes
from infra.grafana.picture import draw
from infra.local.metrics import is_ready
from infra.local.ports import free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT, read_procfile
from infra.local.prometheus import start_prometheus
from infra.local.signals import stop_in_order
from infra.local.stack import PROCESSES, START_S, LocalStack

MINUTES = 6.0
UPLOADS_PER_S = 0.7
BURSTS = {1.0: 200, 3.5: 350}
"""Minute -> uploads at once."""
BACKLOG_AT = 2.0
BAD_AT, BAD = 2.75, 12
KILLED_AT, BACK_AT = 3.51, 4.25
SCRAPE = "5s"
SETTINGS = {"JAMAK_CARD": "l4", "JAMAK_SCALE_CLASSES": "l4,h100", "JAMAK_MACHINE_START_S": "30"}
NOTE = (
    "Drawn by infra/grafana/picture.py, not by Grafana, from six minutes of a real Prometheus: the "
    "demo's tiny model on two CPU cores, one captioner as l4 and one as h100. {} UTC."
)


class Sitting:
    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self.port = free_port()
        """Of the second captioner's metrics."""
        self._s3 = stack.s3.s3()
        self._films = cycle(_films(folder))
        self._uploaded = 0
        self.larger = self._start_larger()

    def work(self) -> None:
        began = time.monotonic()
        plan = sorted(
            [
                *((at, partial(self._upload, "burst", count)) for at, count in BURSTS.items()),
                (BACKLOG_AT, self._backlog),
                (BAD_AT, self._bad),
                (KILLED_AT, self.larger.kill),
                (BACK_AT, self._start_larger),
            ],
            key=lambda one: one[0],
        )
        while (minutes := (time.monotonic() - began) / 60) < MINUTES:
            while plan and plan[0][0] <= minutes:
                plan.pop(0)[1]()
            self._upload("one", 1)
            time.sleep(1 / UPLOADS_PER_S)

    def _upload(self, folder: str, count: int) -> None:
        for _ in range(count):
            self._uploaded += 1
            key = f"{folder}/{self._uploaded}.mp4"
            self._s3.put_object(Bucket=self._stack.videos_bucket, Key=key, Body=next(self._films))

    def _bad(self) -> None:
        for number in range(BAD):
            body = next(self._films)[:2000] if number % 2 else b"no film"
            key = f"bad/{number}.mp4"
            self._s3.put_object(Bucket=self._stack.videos_bucket, Key=key, Body=body)

    def _backlog(self) -> None:
        """Of what the first burst brought, to be captioned again."""
        source = f"s3://{self._stack.videos_bucket}/burst/"
        command = ["jamak", "backlog", "start", "films", source, "--generation", "1"]
        subprocess.run(command, env=self._stack.environ, check=True, capture_output=True)

    def _start_larger(self) -> Process:
        self.larger = Process(
            "larger",
            ["/bin/sh", "-c", read_procfile()["captioner"]],
            log=self._folder / f"larger-{time.monotonic_ns()}.log",
            env={**self._stack.environ, "JAMAK_CARD": "h100", "JAMAK_METRICS_PORT": str(self.port)},
            cwd=ROOT,
        )
        return self.larger


def main() -> None:
    stop_in_order()
    (out,) = sys.argv[1:]
    with TemporaryDirectory() as name, LocalStack(extra_env=SETTINGS) as stack:
        sitting = Sitting(stack, Path(name))
        ports = [stack.metrics_port(process) for process in PROCESSES]
        folder = Path(name, "prometheus")
        prometheus = start_prometheus(folder, {"jamak": [*ports, sitting.port]}, every=SCRAPE)
        try:
            sitting.larger.wait_until(partial(is_ready, sitting.port), START_S)
            begin = time.time()
            sitting.work()
            note = NOTE.format(datetime.fromtimestamp(begin, UTC).strftime("%Y-%m-%d %H:%M"))
            Path(out).write_text(draw(prometheus, begin, time.time(), note), encoding="utf-8")
        finally:
            prometheus.stop()
            stop([sitting.larger])


def _films(folder: Path) -> list[bytes]:
    scenes = sample_scenes(6, 1, split="train")
    return [
        film(scene, Clip(seed, fps=12), folder / f"{seed}.mp4").read_bytes()
        for seed, scene in enumerate(scenes)
    ]


if __name__ == "__main__":
    main()
