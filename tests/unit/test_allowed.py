"""Where addresses may lead: hosts that were named, and public ones."""

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError, Forbidden, StoreUnavailable
from shared.settings import load_settings
from shared.web import connections
from shared.web.addresses import Addresses
from shared.web.connections import is_public
from tests.tls import make_certificate
from tests.web import Request, send_range, serving

HOST = "videos.example.com"


def test_a_host_is_no_prefix_of_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    for entry in (f"https://{HOST}", f"https://{HOST}/", f"HTTPS://{HOST.upper()}:443/"):
        addresses = Addresses((entry,))
        for address in (
            f"https://{HOST}.evil.test/a.mp4",
            f"https://{HOST}@10.0.0.5/a.mp4",
            f"https://{HOST}:8443/a.mp4",
            f"https://{HOST}:443@10.0.0.5/a.mp4",
            f"https://{HOST}\\@10.0.0.5:1/a.mp4".replace(HOST, "evil.test"),
            f"http://{HOST}/a.mp4",
            f"https://{HOST}-evil.test/a.mp4",
        ):
            with pytest.raises(Forbidden):
                addresses.head(address)
        with pytest.raises(AssertionError, match="connected"):
            addresses.head(f"https://{HOST}:443/a.mp4")


@pytest.mark.parametrize(
    "address",
    [
        "https://user:secret@example.com/a.mp4",
        "https://example.com/%00.mp4",
        "https://example.com/public/%2e%2e/private.mp4",
        "https://example.com/public/..%5cprivate.mp4",
        "https://[::1/a.mp4",
        "https://example.com:99999/a.mp4",
        "https://a..b/a.mp4",
        f"https://{'a' * 64}.com/a.mp4",
        "https:///a.mp4",
        "ftp://example.com/a.mp4",
        "file:///videos/a%00.mp4",
        "file://videos/a.mp4",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(Forbidden, match="no address") as caught:
        Addresses(("https://", "file:///")).head(address)
    assert "secret" not in str(caught.value) + caught.value.cure


def test_a_folder_is_no_prefix_of_other_folders(tmp_path: Path) -> None:
    for name in ("videos", "videos-of-others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(b"bytes")
    addresses = Addresses((f"file://{tmp_path}/videos", "https://example.com/videos"))
    assert addresses.head(f"file://{tmp_path}/videos/a.mp4").size_bytes == 5
    for address in (
        f"file://{tmp_path}/videos-of-others/a.mp4",
        "https://example.com/videos-of-others/a.mp4",
        "https://example.com/videos/../others/a.mp4",
    ):
        with pytest.raises(Forbidden, match="not allowed"):
            addresses.head(address)


@pytest.mark.parametrize(
    "entry",
    [
        "http://",
        "https:///",
        "example.com",
        "https://u:p@example.com/",
        "https://h/?id=",
        "file://a/",
    ],
)
def test_settings_refuse_what_names_no_place(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAMAK_ADDRESSES", f'["{entry}"]')
    with pytest.raises(ConfigError, match=r"JAMAK_ADDRESSES.*names no host"):
        load_settings()


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.0.0.5", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("::ffff:10.0.0.5", False),
        ("::10.0.0.5", False),
        ("64:ff9b::a00:5", False),
        ("2002:a00:5::1", False),
        ("2001:0:a00:5::1", False),
    ],
)
def test_which_networks_are_public(ip: str, public: bool) -> None:
    assert is_public(ip) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_host_that_nobody_named_has_to_be_public(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"https://{host}:{server.getsockname()[1]}/a.mp4"
        with pytest.raises(Forbidden, match="no public address") as caught:
            Addresses(("https://", "https://example.com/")).head(address)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert host.strip("[]") in str(caught.value)
    assert "JAMAK_ADDRESSES" in caught.value.cure


class Named:
    """DNS in which a name is here, and elsewhere when it is asked for again."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def __call__(self, host: str, *args: Any, **kwargs: Any) -> Any:
        if host[0].isdigit():
            return self._real(host, *args, **kwargs)
        self.asked.append(host)
        return self._real("127.0.0.1" if len(self.asked) == 1 else "127.0.0.2", *args, **kwargs)


def test_the_ip_that_was_looked_at_is_the_one_and_the_certificate_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path, HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    seen: list[str | None] = []
    context.sni_callback = lambda sock, name, context: seen.append(name)

    def answer(request: Request) -> None:
        seen.append(request.headers["Host"])
        send_range(request, b"0123456789")

    names = Named()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    monkeypatch.setattr(connections, "is_public", lambda ip: ip == "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(answer, context) as web:
        port = web.rpartition(":")[2]
        addresses = Addresses(("https://",))
        assert addresses.head(f"https://{HOST}:{port}/a.mp4").size_bytes == 10
        assert (names.asked, seen) == ([HOST], [HOST, f"{HOST}:{port}"])
        with pytest.raises(StoreUnavailable, match="SSL"):  # the certificate is another host's
            addresses.head(f"https://127.0.0.1:{port}/a.mp4")
        with pytest.raises(Forbidden, match=r"127\.0\.0\.2"):
            Addresses(("https://",)).head(f"https://{HOST}:{port}/a.mp4")


def test_a_host_that_was_named_may_be_anywhere(tmp_path: Path) -> None:
    with serving(lambda request: send_range(request, b"0123456789")) as web:
        assert Addresses(("https://", web)).head(f"{web}/a.mp4").size_bytes == 10
