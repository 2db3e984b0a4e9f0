"""How the address of a broker is written: one server, a cluster, or the sentinels that know one.

    redis://user:password@host:port/db                       one server; rediss:// over TLS
    redis+cluster://user:password@host:port,host:port        some nodes of a cluster
    sentinel://user:password@host:port;sentinel://host:port  sentinels, as Celery writes them

`rediss+cluster://` and `rediss+sentinel://` are over TLS. Knows nothing of connections.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

Kind = Literal["server", "cluster", "sentinels"]
SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "sentinel": ("sentinels", False),
    "redis+sentinel": ("sentinels", False),
    "rediss+sentinel": ("sentinels", True),
}
"""What each means, and whether it is over TLS."""

FORM = (
    "redis://user:password@host:port/0, or rediss:// for TLS; redis+cluster://host:port,host:port "
    "or sentinel://host:port;sentinel://host:port"
)
HASH = "special characters of a password have to be percent-encoded, # as %23"
_PART = re.compile(r"([^/?#]*)(/[^?#]*)?(\?[^#]*)?(#.*)?", re.DOTALL)
_TAG = re.compile(r"\{[^}]+\}")

Place = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True)
class RedisUrl:
    kind: Kind
    tls: bool
    places: tuple[Place, ...]
    """The server; some nodes of the cluster; the sentinels."""
    login: str = field(repr=False)
    """`user:password`, percent-encoded; empty if there is none. Not that of the sentinels."""
    database: str
    options: str
    """redis-py's own, as a query: `socket_timeout=3`."""

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Raises ValueError, without the password."""
        scheme = text.partition("://")[0].lower()
        if scheme not in SCHEMES:
            raise ValueError(f"it names no server ({HASH})")
        kind, tls = SCHEMES[scheme]
        login = path = query = ""
        places: list[Place] = []
        for part in text.split(";") if kind == "sentinels" else [text]:
            said, _, rest = part.rpartition("://")
            found = _PART.fullmatch(rest)
            if said.lower() not in ("", scheme) or found is None or found[4]:
                raise ValueError(f"it names no server ({HASH})")
            # Then a part of the password would be the port, and be named wherever that is.
            if "@" in (found[3] or "") or re.search(r"\s", part):
                raise ValueError(f"it names no server ({HASH})")
            user, _, hosts = found[1].rpartition("@")
            login, path, query = login or user, found[2] or path, found[3] or query
            listed = [hosts] if kind == "server" else hosts.split(",")
            places += [_place(one, 26379 if kind == "sentinels" else 6379) for one in listed]
        if not re.fullmatch(r"/?[0-9]*", path):
            raise ValueError("what follows the port is no number of a database")
        return cls(kind, tls, tuple(places), login, path.strip("/"), query.removeprefix("?"))

    @property
    def user(self) -> str | None:
        return unquote(self.login.partition(":")[0]) or None

    def of_one(self, place: Place, *, login: bool = True) -> str:
        """The address of one server, as redis-py takes it.

        Args:
            login: with the user and the password.
        """
        scheme = "rediss" if self.tls else "redis"
        host, port = place
        host = f"[{host}]" if ":" in host else host
        user = f"{self.login}@" if login and self.login else ""
        options = f"?{self.options}" if self.options else ""
        return f"{scheme}://{user}{host}:{port}/{self.database}{options}"

    def prefix_of(self, name: str) -> str:
        """What every key of this name begins with.

        A cluster keeps together what has the same hash tag, the part in braces; so the whole name
        is one there, unless it has one.
        """
        if self.kind != "cluster" or _TAG.search(name):
            return f"{name}:"
        return f"{{{name}}}:"


def _place(text: str, default_port: int) -> Place:
    """Raises ValueError."""
    try:
        url = urlsplit(f"//{text}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f"its host or port is none ({HASH})") from error
    if not host or port == 0 or "," in host or ";" in host:
        raise ValueError(f"it names no server ({HASH})")
    return host, port or default_port
