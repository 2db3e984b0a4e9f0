"""A cluster, and a primary behind sentinels: real ones, over TLS and with users too."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from infra.local.processes import stop
from producer.verbs.captions import status
from shared.broker.apps import caption_prefix, leased_queues, reaching_redis, train_prefix
from shared.broker.connections import Reach
from shared.broker.leased_queues import Delivery, LeasedQueues
from shared.broker.proofs import prove_captioner, prove_producer, prove_trainer
from shared.errors import BrokerRefuses, BrokerUnavailable
from tests.captioner import Captioner
from tests.redis_users import USERS
from tests.tls import make_certificate, tls_proxy
from tests.topologies import (
    NAME,
    PASSWORD,
    SENTINELS_PASSWORD,
    Cluster,
    Sentinels,
    cluster,
    sentinels,
    start_node,
)
from tests.verbs import inside
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.world import World

pytestmark = pytest.mark.integration

REACH = Reach(master_name=NAME, sentinel_password=SENTINELS_PASSWORD)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with sentinels(tmp_path_factory.mktemp("sentinels")) as made:
        yield made


def again(command: Callable[[], object], within_s: float = 4) -> None:
    """As our processes do: until it is done, through all that may pass."""

    def done() -> bool:
        try:
            with reaching_redis():
                command()
        except BrokerUnavailable:
            return False
        return True

    wait_until(done, within_s, "Redis")


@pytest.mark.model
def test_captions_come_over_a_cluster(three: Cluster, world: World, tmp_path: Path) -> None:
    there = replace(world, redis_url=three.url(), redis_prefix="jamak")
    worker = Captioner(there, tmp_path)
    try:
        worker.wait()
        job = there.job(there.upload(write_clip(tmp_path / "a.mp4", 12), "cluster.mp4"))
        there.send(job)
        assert there.caption(job).text
        wait_until(lambda: there.queues.counts()["in_flight"] == 0, 10, "its acknowledgement")
        seen = json.loads(inside(there, status, "--json").stdout)
        assert len(seen["queues"]["caption.t4"]["workers"]) == 1
    finally:
        stop([worker.process], patience_s=20)
    assert worker.process.poll() == 0
    owner = three.owner("{jamak}:")
    for node in three.nodes:
        held = {key.decode() for key in node.client.scan_iter("*jamak*:*")}
        assert all(key.startswith("{jamak}:") for key in held)
        assert bool(held) == (node is owner)


def test_training_has_a_tag_of_its_own(three: Cluster, world: World) -> None:
    settings = replace(world, redis_url=three.url(), redis_prefix="jamak").settings
    assert caption_prefix(settings) == "{jamak}:"
    training = leased_queues(settings, train_prefix(settings))
    prove_captioner(training)
    prove_producer(training)
    assert training.put("train", ["m"]) == 1
    assert three.owner("{jamak-train}:").client.llen("{jamak-train}:train") == 1


def test_keys_that_move_to_another_server_are_waited_for(three: Cluster) -> None:
    """A slot that is being moved is on two servers, and a script would see half of it."""
    queues = LeasedQueues(three.url(), "{moving}:", 30)
    queues.put("q", ["1", "2"])
    delivery = queues.take(queues.new_lease(), ["q"])
    assert delivery is not None
    slot = redis.crc.key_slot(b"{moving}:")
    source = three.owner("{moving}:")
    target = next(node for node in three.nodes if node is not source)
    ids = {node.port: node.client.execute_command("CLUSTER MYID") for node in three.nodes}
    target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source.port])
    source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target.port])
    with pytest.raises(BrokerUnavailable, match="moved"), reaching_redis():
        queues.put("q", ["3"])
    keys = source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
    source.client.migrate("127.0.0.1", target.port, keys, 0, 5000, auth=PASSWORD)
    for node in (target, source):
        node.client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target.port])
    again(lambda: queues.put("q", ["3"]))
    assert queues.ack([delivery.lease]) == 1  # its lease came along
    assert [taken(queues), taken(queues)] == [b"2", b"3"]
    assert target.client.hget("{moving}:taken", "q") == b"3"


def taken(queues: LeasedQueues) -> bytes:
    found: list[Delivery | None] = []
    again(lambda: found.append(queues.take(queues.new_lease(), ["q"])))
    (delivery,) = found
    assert delivery is not None
    return delivery.message


def test_who_speaks_to_a_cluster_as_to_one_server_hears_how_to(three: Cluster) -> None:
    stranger = next(node for node in three.nodes if node is not three.owner("jamak:"))
    with pytest.raises(BrokerRefuses, match="is a cluster") as caught:
        prove_trainer(
            LeasedQueues(f"redis://:{PASSWORD}@127.0.0.1:{stranger.port}/0", "jamak:", 30)
        )
    assert "redis+cluster://" in caught.value.cure
    with pytest.raises(BrokerRefuses, match="not with this password"):
        prove_trainer(LeasedQueues(three.url(":wrong"), "{jamak}:", 30))


def test_one_server_is_no_cluster(redis_url: str) -> None:
    with pytest.raises(BrokerRefuses, match="is no cluster") as caught:
        prove_trainer(
            LeasedQueues(redis_url.replace("redis://", "redis+cluster://"), "{jamak}:", 30)
        )
    assert "redis://" in caught.value.cure


def test_after_a_failover_the_new_primary_is_found(trio: Sentinels) -> None:
    queues = LeasedQueues(trio.url(), "failover:", 30, REACH)
    prove_captioner(queues)
    before = trio.named()
    queues.put("q", ["1", "2"])
    held = queues.take(queues.new_lease(), ["q"])
    assert held is not None
    trio.primary.client.wait(1, 5000)  # it has its copy
    trio.sentinels[0].client.execute_command("SENTINEL FAILOVER", NAME)
    wait_until(lambda: trio.named() != before, 10, "another primary")
    # The sentinels do so themselves eight seconds later.
    trio.primary.client.execute_command("REPLICAOF", "127.0.0.1", trio.named())
    again(lambda: queues.put("q", ["3"]))
    assert queues.server == ("127.0.0.1", trio.named())
    again(lambda: queues.renew(held.lease))
    assert queues.renew(held.lease)  # nobody lost a lease
    assert queues.ack([held.lease]) == 1
    assert [taken(queues), taken(queues)] == [b"2", b"3"]
    assert queues.redis.info("replication")["role"] == "master"


def test_a_primary_that_lost_its_replicas_is_left_for_the_new_one(trio: Sentinels) -> None:
    """Cut off from all but us it goes on taking for a primary itself, and only refuses writes."""
    queues = LeasedQueues(trio.url(), "left:", 30, REACH)
    queues.put("q", ["1"])
    before = next(one for one in (trio.primary, trio.replica) if one.port == trio.named())
    after = next(one for one in (trio.primary, trio.replica) if one is not before)
    wait_until(lambda: after.client.keys("left:*"), 10, "a copy of it")
    trio.sentinels[0].client.execute_command("SENTINEL FAILOVER", NAME)
    wait_until(lambda: trio.named() == after.port, 10, "another primary")
    wait_until(lambda: after.client.info("replication")["role"] == "master", 10, "its turn")
    before.client.config_set("min-replicas-to-write", 1)
    before.client.execute_command("REPLICAOF", "NO", "ONE")  # as if nobody had told it
    try:
        with pytest.raises(BrokerUnavailable, match="too few replicas"), reaching_redis():
            queues.put("q", ["2"])
        assert queues.put("q", ["2"]) == 2
        assert queues.server == ("127.0.0.1", after.port)
    finally:
        before.client.config_set("min-replicas-to-write", 0)
        before.client.execute_command("REPLICAOF", "127.0.0.1", after.port)


def test_what_the_sentinels_refuse_is_told_from_what_redis_refuses(trio: Sentinels) -> None:
    for url, reach, said, cure in (
        (trio.url(), Reach(master_name=NAME), "a sentinel", "JAMAK_REDIS_SENTINEL_PASSWORD"),
        (trio.url(), replace(REACH, sentinel_password="x"), "a sentinel", "SENTINEL_PASSWORD"),
        (trio.url(), replace(REACH, master_name="nobody"), "no primary", "REDIS_MASTER_NAME"),
        (trio.url(":wrong"), REACH, "not with this password", "JAMAK_REDIS_URL"),
    ):
        with pytest.raises(BrokerRefuses, match=said) as caught:
            prove_trainer(LeasedQueues(url, "jamak:", 30, reach))
        assert cure in caught.value.cure
        assert PASSWORD not in f"{caught.value} {caught.value.cure}"


def test_verbs_ask_the_sentinels_too(trio: Sentinels, world: World) -> None:
    there = replace(world, redis_url=trio.url(), aws={**world.aws, **trio.settings})
    assert json.loads(inside(there, status, "--json").stdout)["workers"] == []


def test_a_cluster_over_tls_with_users(tmp_path: Path) -> None:
    """TLS and the user have to reach the node that is named and the one that it names."""
    certificate, key = make_certificate(tmp_path)
    with cluster(tmp_path, primaries=1) as one:
        (node,) = one.nodes
        node.client.execute_command("ACL", "SETUSER", "jamak-worker", *USERS["jamak-worker"])
        with (
            tls_proxy(certificate, key, node.port) as named,
            tls_proxy(certificate, key, node.port) as found,
        ):
            node.client.config_set("cluster-announce-port", found)
            if node.client.execute_command("CLUSTER SLOTS")[0][2][1] != found:
                pytest.skip("Redis before 7 announces another port only from its start on")
            url = f"rediss+cluster://jamak-worker:change-me-worker@127.0.0.1:{named}"
            queues = LeasedQueues(url, "{jamak}:", 30, Reach(certificate))
            prove_captioner(queues)
            connection = queues.redis.connection_pool.get_connection()
            assert connection.port == found
            users = {client["user"] for client in node.client.client_list()}
            assert users == {"default", "jamak-worker"}
            with pytest.raises(BrokerRefuses, match="not trusted"):
                prove_trainer(LeasedQueues(url, "{jamak}:", 30))
            with pytest.raises(BrokerRefuses, match="permission"):
                prove_trainer(LeasedQueues(url, "{other}:", 30, Reach(certificate)))


def test_sentinels_over_tls_with_users_of_their_own(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start_node(tmp_path, "primary", [f'requirepass "{PASSWORD}"'], password=PASSWORD)
    try:
        server.client.execute_command("ACL", "SETUSER", "jamak-worker", *USERS["jamak-worker"])
        with tls_proxy(certificate, key, server.port, plain_too=True) as port:
            lines = [
                f"sentinel monitor {NAME} 127.0.0.1 {port} 1",
                f'sentinel auth-pass {NAME} "{PASSWORD}"',
                f'requirepass "{SENTINELS_PASSWORD}"',
            ]
            sentinel = start_node(
                tmp_path, "sentinel", lines, "--sentinel", password=SENTINELS_PASSWORD
            )
            try:
                sentinel.client.execute_command(
                    "ACL",
                    "SETUSER",
                    "jamak",
                    "on",
                    ">its-own",
                    "-@all",
                    "+hello",
                    "+sentinel|master",
                )
                with tls_proxy(certificate, key, sentinel.port) as watched:
                    url = f"rediss+sentinel://jamak-worker:change-me-worker@127.0.0.1:{watched}"
                    reach = Reach(certificate, NAME, "jamak", "its-own")
                    queues = LeasedQueues(url, "jamak:", 30, reach)
                    prove_captioner(queues)
                    assert queues.redis.connection_pool.get_connection().port == port
                    with pytest.raises(BrokerRefuses, match="not trusted"):
                        prove_trainer(LeasedQueues(url, "jamak:", 30, replace(reach, ca_file=None)))
            finally:
                sentinel.stop()
    finally:
        server.stop()
