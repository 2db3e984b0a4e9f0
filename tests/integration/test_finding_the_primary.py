"""Who is asked where the primary is, in which order, and what a connection makes of an answer."""

import pytest
import redis

from shared.broker.connections import Finder, Link, Reach
from shared.broker.leased_queues import LeasedQueues
from shared.errors import BrokerUnavailable
from shared.redis_url import Place
from tests.silent import silent_server


def test_one_sentinel_that_is_gone_or_wrong_keeps_nobody() -> None:
    names = {("right", 1): ("new", 6), ("wrong", 2): ("old", 6), ("late", 3): ("new", 6)}
    asked: list[Place] = []

    def ask(place: Place) -> tuple[list[Place], list[Place]]:
        asked.append(place)
        if place not in names:
            raise redis.ConnectionError("gone")
        return [names[place]], []

    find = Finder([("gone", 0), *names], ask)
    assert {find() for _ in range(4)} == {("new", 6), ("old", 6)}
    assert {place[0] for place in asked} == {"gone", "right", "wrong", "late"}
    names.clear()
    with pytest.raises(redis.ConnectionError, match="gone"):
        find()


def test_nodes_that_are_found_are_asked_too_and_forgotten_when_they_are_gone() -> None:
    nodes = {("a", 1): [("a", 1), ("b", 2)], ("b", 2): [("b", 2), ("c", 3)]}

    def ask(place: Place) -> tuple[list[Place], list[Place]]:
        if place not in nodes:
            raise redis.ConnectionError("gone")
        return [place], nodes[place]

    find = Finder([("a", 1)], ask)
    assert find() == ("a", 1)
    del nodes["a", 1]  # the one that the settings name
    assert {find() for _ in range(3)} == {("b", 2)}
    nodes["c", 3] = [("c", 3)]
    assert ("c", 3) in {find() for _ in range(4)}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("-OOM command not allowed when used memory > 'maxmemory'.", redis.OutOfMemoryError),
        ("-READONLY You can't write against a read only replica.", redis.exceptions.ReadOnlyError),
    ],
)
def test_what_a_script_met_is_told_as_older_servers_tell_it(
    answer: str, kind: type[redis.ResponseError]
) -> None:
    """Redis 6.2 wraps it."""
    wrapped = f"-ERR Error running script (call to f_1): @user_script:9: @user_script: 9: {answer}"
    with silent_server(answer=f"{wrapped}\r\n".encode()) as server:
        quiet = {"redis_connect_func": lambda one: one._parser.on_connect(one)}
        link = Link(port=server.port, protocol=2, **quiet)
        link.connect()
        with pytest.raises(kind, match=answer.split(" ", 1)[1][:20]):
            link.read_response()
        link.disconnect()


def test_a_cluster_that_nobody_speaks_for_is_waited_for() -> None:
    queues = LeasedQueues("redis+cluster://127.0.0.1:1,127.0.0.1:2", "{jamak}:", 30, Reach())
    with pytest.raises(BrokerUnavailable, match="refused"):
        queues.prove_answer()
