"""Real clusters, and primaries with replicas and sentinels, on loopback ports."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Process, ProcessFailed, stop
from infra.local.redis import find_server
from tests.waiting import wait_until

SLOTS = 16384
NODE_TIMEOUT_MS = 1500
"""After so long without an answer a node is taken for dead."""
PASSWORD = "servers-own"
SENTINELS_PASSWORD = "sentinels-own"
NAME = "captions"
"""Of the primary, to its sentinels."""


@dataclass
class Node:
    """A server that a test may kill."""

    port: int
    process: Process
    client: redis.Redis

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        self.client.close()
        stop([self.process], patience_s=1)


TRIES = 10
BUS = 10000
"""The port of a node for other nodes is so much higher."""


def start_node(folder: Path, name: str, lines: Sequence[str], *options: str, password: str) -> Node:
    """Args:
    lines: of its configuration.
    options: of its command line.
    """

    def start(port: int) -> Node:
        place = folder / f"{name}-{port}"
        place.mkdir(parents=True)
        config = place / "server.conf"
        common = [f"bind {LOOPBACK}", f"port {port}", f"dir {place}", "protected-mode no"]
        config.write_text("\n".join([*common, *lines]) + "\n")
        process = Process(
            name,
            [find_server(), str(config), *options],
            log=place / "server.log",
            env=dict(os.environ),
            cwd=place,
        )
        client = redis.Redis(
            port=port, password=password, retry=Retry(NoBackoff(), 0), socket_timeout=5
        )
        process.wait_until(lambda: _answers(client), 30)
        return Node(port, process, client)

    for _ in range(TRIES):  # the other port may be somebody's
        port = free_port()
        with suppress(ProcessFailed):
            if port + BUS < 65536:
                return start(port)
    return start(free_port())


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@dataclass
class Cluster:
    nodes: list[Node]

    def url(self, login: str = f":{PASSWORD}", scheme: str = "redis+cluster") -> str:
        """Of two of them: the rest has to be found."""
        hosts = ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes[:2])
        return f"{scheme}://{login}@{hosts}/0"

    def owner(self, key: str) -> Node:
        """The primary of a key, as the first node that lives knows it."""
        slot = redis.crc.key_slot(key.encode())
        for node in self.nodes:
            with suppress(redis.RedisError):
                for first, last, primary, *_ in node.client.execute_command("CLUSTER SLOTS"):
                    if first <= slot <= last:
                        return next(one for one in self.nodes if one.port == primary[1])
        raise AssertionError(f"nobody has the slot of {key}")


@contextmanager
def cluster(folder: Path, *, primaries: int = 3, replicas: int = 0) -> Iterator[Cluster]:
    """Primaries, each with so many replicas."""
    nodes: list[Node] = []
    try:
        for _ in range(primaries * (1 + replicas)):
            nodes.append(
                start_node(
                    folder,
                    "node",
                    [
                        "cluster-enabled yes",
                        f"cluster-node-timeout {NODE_TIMEOUT_MS}",
                        "appendonly yes",
                        "maxmemory-policy noeviction",
                        f'requirepass "{PASSWORD}"',
                        f'masterauth "{PASSWORD}"',
                        "repl-diskless-sync-delay 0",
                    ],
                    password=PASSWORD,
                )
            )
        bounds = [SLOTS * part // primaries for part in range(primaries + 1)]
        for number, node in enumerate(nodes[:primaries]):
            for start in range(
                bounds[number], bounds[number + 1], 4096
            ):  # older ones take no range
                slots = range(start, min(start + 4096, bounds[number + 1]))
                node.client.execute_command("CLUSTER ADDSLOTS", *slots)
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            nodes[0].client.execute_command("CLUSTER MEET", LOOPBACK, node.port)
        wait_until(lambda: all(_knows_all(node, len(nodes)) for node in nodes), 30, "a cluster")
        for number, node in enumerate(nodes[primaries:]):
            of = nodes[number % primaries].client.execute_command("CLUSTER MYID")
            node.client.execute_command("CLUSTER REPLICATE", of)
        wait_until(lambda: all(is_up(node) for node in nodes), 30, "a cluster that is up")
        yield Cluster(nodes)
    finally:
        for node in nodes:
            node.stop()


def _knows_all(node: Node, count: int) -> bool:
    told = node.client.execute_command("CLUSTER INFO")
    return _field(told, "cluster_known_nodes") == str(count)


def is_up(node: Node) -> bool:
    role, *rest = node.client.execute_command("ROLE")
    follows = role == b"master" or rest[2] == b"connected"
    told = node.client.execute_command("CLUSTER INFO")
    return follows and _field(told, "cluster_state") == "ok"


def _field(told: object, name: str) -> str:
    lines = told if isinstance(told, dict) else None
    if lines is not None:
        return str(lines[name])
    text = told.decode() if isinstance(told, bytes) else str(told)
    return dict(line.split(":", 1) for line in text.split() if ":" in line)[name]


@dataclass
class Sentinels:
    primary: Node
    replica: Node
    sentinels: list[Node] = field(default_factory=list)

    def url(self, login: str = f":{PASSWORD}") -> str:
        """As Celery writes it."""
        hosts = [f"{LOOPBACK}:{one.port}" for one in self.sentinels]
        return ";".join(f"sentinel://{host}" for host in [f"{login}@{hosts[0]}", *hosts[1:]])

    @property
    def settings(self) -> dict[str, str]:
        return {
            "JAMAK_REDIS_MASTER_NAME": NAME,
            "JAMAK_REDIS_SENTINEL_PASSWORD": SENTINELS_PASSWORD,
        }

    def named(self) -> int:
        """The port of the primary, as the first sentinel has it."""
        return int(self.sentinels[0].client.execute_command("SENTINEL MASTER", NAME)["port"])


@contextmanager
def sentinels(folder: Path, *, down_after_ms: int = 500) -> Iterator[Sentinels]:
    """A primary, its replica, and three sentinels that have a password of their own."""
    common = [
        "appendonly yes",
        "maxmemory-policy noeviction",
        f'requirepass "{PASSWORD}"',
        f'masterauth "{PASSWORD}"',
        "repl-diskless-sync-delay 0",
    ]
    started: list[Node] = []
    try:
        primary = start_node(folder, "primary", common, password=PASSWORD)
        started.append(primary)
        follows = [*common, f"replicaof {LOOPBACK} {primary.port}"]
        replica = start_node(folder, "replica", follows, password=PASSWORD)
        started.append(replica)
        made = Sentinels(primary, replica)
        for _ in range(3):
            lines = [
                f"sentinel monitor {NAME} {LOOPBACK} {primary.port} 2",
                f'sentinel auth-pass {NAME} "{PASSWORD}"',
                f"sentinel down-after-milliseconds {NAME} {down_after_ms}",
                f"sentinel failover-timeout {NAME} 3000",
                f'requirepass "{SENTINELS_PASSWORD}"',
            ]
            made.sentinels.append(
                start_node(folder, "sentinel", lines, "--sentinel", password=SENTINELS_PASSWORD)
            )
            started.append(made.sentinels[-1])
        wait_until(lambda: all(_sees_all(one) for one in made.sentinels), 30, "sentinels")
        yield made
    finally:
        for node in started:
            node.stop()


def _sees_all(sentinel: Node) -> bool:
    told = sentinel.client.execute_command("SENTINEL MASTER", NAME)
    return told["num-other-sentinels"] == 2 and told["num-slaves"] == 1
