"""Servers that speak S3's API, as they are installed here. Knows nothing of what is tried there."""

import json
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

KEY = SECRET = "jamak"  # noqa: S105  # of servers that end with this program


@dataclass
class Store:
    name: str
    version: str
    env: dict[str, str]
    """AWS_* variables."""


def env_of(url: str, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def free_port() -> int:
    """SeaweedFS takes the one 10,000 above it as well."""
    for port in random.sample(range(11_000, 20_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise SystemExit("no port is free")


def said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)
    try:
        until = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command[0]} does not start: {log.read_text()[:2000]}")
            time.sleep(0.2)
        time.sleep(3)  # it listens before it works
        yield
    finally:
        process.kill()  # an orderly end takes SeaweedFS half a minute
        process.wait()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Store]:
    ports = [free_port() for _ in range(4)]
    who = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    config = folder / "identities.json"
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    config.write_text(json.dumps({"identities": [{**who, "actions": rights}]}))
    command = [
        *(
            "weed",
            "server",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            f"-s3.config={config}",
        ),
        *(f"-s3.port={ports[0]}", f"-master.port={ports[1]}", f"-volume.port={ports[2]}"),
        *(f"-filer.port={ports[3]}", "-master.volumeSizeLimitMB=64", "-volume.max=50"),
    ]
    told = said_by("weed", "version").split()
    with serving(command, ports[0], folder / "weed.log"):
        yield Store(
            "SeaweedFS", told[2] if len(told) > 2 else "", env_of(f"http://127.0.0.1:{ports[0]}")
        )


@contextmanager
def rclone(folder: Path) -> Iterator[Store]:
    port = free_port()
    command = ["rclone", "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"]
    told = said_by("rclone", "version").split()
    with serving([*command, "--auth-key", f"{KEY},{SECRET}"], port, folder / "rclone.log"):
        yield Store("rclone serve s3", told[1].lstrip("v"), env_of(f"http://127.0.0.1:{port}"))


LOCAL = {"weed": seaweedfs, "rclone": rclone}
