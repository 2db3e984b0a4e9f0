"""TLS in front of a server that has none: a certificate of our own, and a proxy that ends it."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HELLO = b"\x16"
"""With which TLS begins."""


def make_certificate(folder: Path, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """Self-signed, for an IP address or a host's name: (certificate, key) as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(host)]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, key_pem


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@contextmanager
def tls_proxy(
    certificate: Path, key: Path, target_port: int, *, plain_too: bool = False
) -> Iterator[int]:
    """A loopback port that speaks TLS and passes everything on to the target port.

    Args:
        plain_too: and what comes without TLS as well, as sentinels and replicas here do.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=_serve, args=(listener, context, target_port, plain_too), daemon=True
        ).start()
        yield listener.getsockname()[1]


def _serve(
    listener: socket.socket, context: ssl.SSLContext, target_port: int, plain_too: bool
) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return  # closed
        threading.Thread(
            target=_connect, args=(plain, context, target_port, plain_too), daemon=True
        ).start()


def _connect(
    plain: socket.socket, context: ssl.SSLContext, target_port: int, plain_too: bool
) -> None:
    with (
        suppress(OSError),
        (
            plain
            if plain_too and plain.recv(1, socket.MSG_PEEK) != HELLO
            else context.wrap_socket(plain, server_side=True)
        ) as client,
        socket.create_connection(("127.0.0.1", target_port)) as server,
    ):
        threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()
        _pass_on(client, server)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
