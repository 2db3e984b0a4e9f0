"""Why a server could not be reached: what a failed connection means, and its cure.

The libraries wrap the operating system's errors, each in its own way; what matters lies at the
bottom. Knows nothing of what the server is for.
"""

import socket
import ssl
from collections.abc import Iterator


class Trickle(TimeoutError):
    """It sends something again and again, and all of it would take too long."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that it was raised for, the true cause last."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def why_unreachable(error: BaseException) -> tuple[str, str] | None:
    """What is wrong, and what to do about it; None: it is no matter of the connection."""
    found = list(causes(error))
    if any(isinstance(one, Trickle) for one in found):
        return (
            "it is too slow",
            "Check how busy the server is, and the network: less than 64 KiB a second count as an "
            "outage.",
        )
    for one in reversed(found):
        if isinstance(one, socket.gaierror):
            return (
                "its host name is unknown",
                "Check the name, and that this machine can look names up (DNS).",
            )
        if isinstance(one, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({one.verify_message})",
                "Name the CA that signed it, and the host by the name in the certificate.",
            )
        if isinstance(one, ssl.SSLError):
            return "it does not speak TLS", "Use the port that has TLS, or an address without it."
        if isinstance(one, ConnectionRefusedError):
            return (
                "nothing listens there (connection refused)",
                "Check the host and the port, and that the server runs.",
            )
        if isinstance(one, TimeoutError):
            return (
                "it does not answer in time",
                "Check that the server is healthy, and that no firewall or security group drops "
                "what is sent to it.",
            )
        if isinstance(one, ConnectionError):
            return (
                "it closed the connection",
                "Check that the server is healthy, and whether the port wants TLS.",
            )
    return None
