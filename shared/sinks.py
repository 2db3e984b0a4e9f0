"""Where results are told, as JAMAK_RESULTS names it: an SNS topic, an EventBridge bus, a webhook.

Knows how such a place is written, and nothing of what is sent there.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal

from urllib3.util import parse_url

FORM = "arn:aws:sns:…:topic, arn:aws:events:…:event-bus/name or https://host/path"
_SNS = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
_EVENTS = re.compile(
    r"arn:aws[a-z-]*:events:([a-z0-9-]+):[0-9]{12}:event-bus/[A-Za-z0-9._/-]{1,256}"
)
SECRET = "whsec_"  # noqa: S105  # how secrets of webhooks begin


@dataclass(frozen=True)
class Sink:
    kind: Literal["sns", "events", "webhook"]
    address: str
    region: str = ""
    """Of AWS."""

    @classmethod
    def parse(cls, text: str) -> "Sink":
        """Raises ValueError: it is none."""
        if found := _SNS.fullmatch(text):
            return cls("sns", text, found[1])
        if found := _EVENTS.fullmatch(text):
            return cls("events", text, found[1])
        parts = parse_url(text) if text.startswith(("https://", "http://")) else None
        if parts is None or not parts.host or parts.auth is not None or parts.fragment:
            raise ValueError("it is no topic, no bus and no address")
        return cls("webhook", text)


def shown_sink(address: str) -> str:
    """Without what opens it."""
    return address.partition("?")[0]


def key_of(secret: str) -> bytes:
    """What a webhook's events are signed with.

    Raises:
        ValueError: it is no such secret.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    if not secret.startswith(SECRET) or not 24 <= len(key) <= 64:
        raise ValueError("it is not whsec_ and 24 to 64 bytes in base64")
    return key
