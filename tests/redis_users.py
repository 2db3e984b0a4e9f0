"""The users of infra/redis, on a server of whatever version."""

from collections.abc import Sequence
from typing import Any

import redis

from infra.local.procfile import ROOT

USERS = {
    line.split()[1]: line.split()[2:]
    for line in (ROOT / "infra/redis/users.acl").read_text().splitlines()
}
"""Name -> its rules."""


def has_keys_to_read_alone(client: redis.Redis) -> bool:
    """Since Redis 7: `%R~`."""
    told: Any = client.info("server")
    return int(str(told["redis_version"]).partition(".")[0]) >= 7


def add_user(admin: redis.Redis, name: str, rules: Sequence[str]) -> None:
    """Where keys cannot be for reading alone, as docs/redis.md says."""
    if any(rule.startswith("%R~") for rule in rules) and not has_keys_to_read_alone(admin):
        rules = [one.replace("%R~", "~") for one in rules if one not in ("+zadd", "+zrem")]
    admin.execute_command("ACL", "SETUSER", name, *rules)
