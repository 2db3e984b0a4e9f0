"""The local stack: Redis, an S3 and SQS API, and the processes of the Procfile as written there.

Nothing knows that it is local: everything reads JAMAK_* and AWS_* as it does elsewhere.
"""

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.metrics import is_ready
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT, read_procfile
from infra.local.redis import start_redis
from infra.local.s3 import OUTPUT_BUCKET, VIDEOS_BUCKET, start_s3

DEMO_MODEL = ROOT / "infra/demo/models/llama"
PROCESSES = ("listener", "feeder", "scaler", "watcher", "retrainer", "captioner", "trainer")
START_S = 180.0
"""A cold disk reads torch slowly."""


class LocalStack:
    """`with LocalStack() as stack:` it runs, in a private directory; after it nothing is left.

    Args:
        processes: the names of the Procfile's lines to run; without any, just the two servers.
        model_path: the base model.
        extra_env: for the processes, over everything else.

    Raises:
        ProcessFailed: something does not start; with the end of its log.
        ConfigError: something is not installed.
    """

    videos_bucket = VIDEOS_BUCKET
    output = f"s3://{OUTPUT_BUCKET}/"

    def __init__(
        self,
        processes: Sequence[str] = PROCESSES,
        model_path: Path = DEMO_MODEL,
        extra_env: Mapping[str, str] | None = None,
    ) -> None:
        self._names, self._model_path = processes, model_path
        self._extra_env = dict(extra_env or {})
        self._processes: dict[str, Process] = {}
        self._metrics_ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            self.directory = Path(
                cleanup.enter_context(tempfile.TemporaryDirectory(prefix="jamak-"))
            )
            (self.directory / "tmp").mkdir()
            self.redis = start_redis(self.directory / "redis")
            cleanup.callback(self.redis.stop)
            self.s3 = start_s3(self.directory / "s3")
            cleanup.callback(self.s3.stop)
            self.queue_url = self.s3.queue_url
            cleanup.callback(lambda: stop(self._processes.values()))
            self._start_processes()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    @property
    def redis_url(self) -> str:
        return self.redis.url

    @property
    def env(self) -> dict[str, str]:
        """The settings: all that a `jamak` command needs to work with this stack."""
        return {
            **self.s3.env,
            "JAMAK_REDIS_URL": self.redis_url,
            "JAMAK_OUTPUT": self.output,
            "JAMAK_EVENTS_QUEUE_URL": self.queue_url,
            "JAMAK_MODEL": "jamak/demo-llama",
            "JAMAK_MODEL_REVISION": "1",
            "JAMAK_MODEL_PATH": str(self._model_path),
            "JAMAK_MAX_NEW_TOKENS": "96",
            "JAMAK_DEVICE": "cpu",
            "JAMAK_ADAPTER_POLL_S": "1",
            **self._extra_env,
        }

    @property
    def environ(self) -> dict[str, str]:
        """`env` and the rest of a child process's environment."""
        # What the caller has set for another Redis, or for AWS itself, must not come in.
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("JAMAK_", "AWS_"))}
        return {
            **ours,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "TMPDIR": str(self.directory / "tmp"),
            "no_proxy": LOOPBACK,
            # Several processes share the cores: more threads each would only fight.
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "HF_HUB_OFFLINE": "1",
            **self.env,
        }

    def exports(self) -> str:
        """`env` as lines for a shell."""
        return "\n".join(f"export {k}={shlex.quote(v)}" for k, v in self.env.items())

    def log(self, name: str) -> Path:
        """Of `redis`, `s3` or a process of the Procfile."""
        return self._all()[name].log

    def metrics_port(self, name: str) -> int:
        return self._metrics_ports[name]

    def check(self) -> None:
        """Raises ProcessFailed: one of them has ended by itself."""
        for process in self._all().values():
            process.check()

    def wait(self) -> None:
        """Until interrupted.

        Raises:
            ProcessFailed: one of them has ended by itself.
        """
        while True:
            self.check()
            time.sleep(0.5)

    def _all(self) -> dict[str, Process]:
        return {"redis": self.redis.process, "s3": self.s3.process, **self._processes}

    def _start_processes(self) -> None:
        commands = read_procfile()
        for name in self._names:
            port = self._metrics_ports[name] = free_port()
            self._processes[name] = Process(
                name,
                ["/bin/sh", "-c", commands[name]],
                log=self.directory / "logs" / f"{name}.log",
                env={**self.environ, "JAMAK_METRICS_PORT": str(port)},
                cwd=ROOT,
            )
        for name, process in self._processes.items():
            process.wait_until(partial(is_ready, self.metrics_port(name)), START_S)
