"""Which addresses may be read: those that JAMAK_ADDRESSES names.

Addresses are compared in one plain form, made by the parser that the request is made with, and up
to a slash: no other host and no other folder can begin alike. Knows nothing of connections.
"""

import os
from collections.abc import Sequence
from urllib.parse import unquote

from urllib3.util import parse_url

from shared.errors import ConfigError, Forbidden

ANY = "https://"
"""Any host, as long as it is a public one."""
PORTS = {"http": 80, "https": 443}


class Allowed:
    """Args:
        beginnings: `https://`; or a host, or a folder of one, or a folder here.

    Raises:
        ConfigError: one of them is none of these.
    """

    def __init__(self, beginnings: Sequence[str]) -> None:
        self._any = ANY in beginnings
        self._named = tuple(_beginning(one) for one in beginnings if one != ANY)

    def check(self, address: str) -> tuple[str, bool]:
        """Its plain form, which opens nothing, and whether its host was named.

        Raises:
            Forbidden: nobody has allowed to read there, or it is no address.
        """
        plain = _plain(address)
        named = f"{plain}/".startswith(self._named)
        if not named and not (self._any and plain.startswith(ANY)):
            raise Forbidden(
                f"{plain}: reading from there is not allowed",
                cure="Add its host, or its folder, to JAMAK_ADDRESSES.",
            )
        return plain, named


def _beginning(value: str) -> str:
    try:
        plain = _plain(value)
    except Forbidden:
        plain = None
    if plain is None or (plain.startswith("http") and ("?" in value or "#" in value)):
        raise ConfigError(
            f"{value!r} names no host and no folder",
            cure="Write https://, https://host/, https://host/folder/ or file:///folder/.",
        )
    return f"{plain.rstrip('/')}/"


def _plain(address: str) -> str:
    """Scheme, host, port and path; of a file its true path, wherever links lead."""
    scheme, _, rest = address.partition("://")
    try:
        if "\0" in unquote(rest):
            raise ValueError("a null byte")
        if scheme == "file" and rest.startswith("/"):
            return f"file://{os.path.realpath(unquote(rest))}"
        parts = parse_url(address)
        path = parts.path or "/"
        if parts.scheme not in PORTS or not parts.host or parts.auth is not None:
            raise ValueError("no host, or a user")
        if ".." in unquote(path).replace("\\", "/").split("/"):
            raise ValueError("a way out of its folder")
        parts.host.encode("idna")
    except ValueError as error:  # urllib3's own are such, too
        raise Forbidden(
            "this is no address that can be read",
            cure="Write https://host/path, without a user, a null byte or an encoded `..` in it.",
        ) from error
    port = "" if parts.port in (None, PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{parts.host}{port}{path}"
