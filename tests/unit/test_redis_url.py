"""How the address of a broker is read, and what its keys begin with."""

import pytest

from shared.redis_url import RedisUrl


@pytest.mark.parametrize(
    ("text", "kind", "tls", "places"),
    [
        ("redis://host", "server", False, [("host", 6379)]),
        ("REDISS://u:p%40@host:7/3?socket_timeout=3", "server", True, [("host", 7)]),
        ("redis://[::1]:7", "server", False, [("::1", 7)]),
        ("redis+cluster://a,b:7,[::1]:8", "cluster", False, [("a", 6379), ("b", 7), ("::1", 8)]),
        ("rediss+cluster://u:p@a", "cluster", True, [("a", 6379)]),
        ("sentinel://u:p@a;sentinel://b:7/0", "sentinels", False, [("a", 26379), ("b", 7)]),
        ("sentinel://a:1;b:2/0", "sentinels", False, [("a", 1), ("b", 2)]),
        ("rediss+sentinel://a,b:7", "sentinels", True, [("a", 26379), ("b", 7)]),
    ],
)
def test_servers_clusters_and_sentinels(
    text: str, kind: str, tls: bool, places: list[tuple[str, int]]
) -> None:
    url = RedisUrl.parse(text)
    assert (url.kind, url.tls, list(url.places)) == (kind, tls, places)


@pytest.mark.parametrize(
    "text",
    [
        "redis://h;redis://i",
        "redis://a,b",
        "redis+cluster://a,",
        "sentinel://a;redis://b",
        "sentinel://a:x",
        "redis+cluster://:hunter2#@a",
        "http://a",
        "",
    ],
)
def test_what_names_no_server_is_refused_without_the_password(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        RedisUrl.parse(text)
    assert "hunter2" not in str(caught.value)


def test_one_server_of_many_keeps_user_database_and_options() -> None:
    url = RedisUrl.parse("sentinel://u:p%40@a;sentinel://b/3?socket_timeout=3")
    assert url.of_one(("::1", 7)) == "redis://u:p%40@[::1]:7/3?socket_timeout=3"
    assert url.of_one(("b", 7), login=False) == "redis://b:7/3?socket_timeout=3"
    assert url.user == "u"
    assert "p%40" not in repr(url)


def test_only_in_a_cluster_the_prefix_is_a_hash_tag() -> None:
    """So nothing moves when a deployment without a cluster is upgraded."""
    for text, name, prefix in (
        ("redis://h", "jamak", "jamak:"),
        ("sentinel://h", "jamak-train", "jamak-train:"),
        ("redis+cluster://h", "jamak", "{jamak}:"),
        ("redis+cluster://h", "{own}-train", "{own}-train:"),
        ("redis+cluster://h", "{}", "{{}}:"),  # no tag: the braces hold nothing
    ):
        assert RedisUrl.parse(text).prefix_of(name) == prefix
