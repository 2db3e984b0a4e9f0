"""Whether a film is encrypted: bought, rented, broadcast for payment, or copied from a disc.

Its container is readable all the same, and some of it may even decode, into noise. Where formats
say so: ISO/IEC 23001-7 (MP4), RFC 9559 (Matroska), the ASF specification (Windows Media),
ISO/IEC 13818-1 (transport and program streams).
"""

import re
from typing import Any

HEAD_BYTES = 1 << 16
"""Of a transport or program stream, in which scrambled packets are looked for."""
KEY_OF_A_TRACK = "enc_key_id"
OF_WINDOWS_MEDIA = ("ASF_Protection_Type", "encryption")
"""What FFmpeg calls these facts of Matroska and ASF, which has the second for a newer kind."""
SIDE_DATA = "encryption_info"
"""On each encrypted packet of an MP4."""
CODES = frozenset({"encv", "drmi"})
"""A sample entry of MP4 that hides the codec, and Apple's."""
PACKET, SYNC = 188, 0x47
SCRAMBLED_PES = re.compile(rb"\0\0\x01[\xe0-\xef]..[\x90-\xbf]", re.DOTALL)
PES = re.compile(rb"\0\0\x01[\xe0-\xef]..[\x80-\xbf]", re.DOTALL)


def is_said(container: Any, stream: Any) -> bool:
    """By the container as a whole, or of the track."""
    if container.format.name == "asf":
        return any(key in container.metadata for key in OF_WINDOWS_MEDIA)
    return KEY_OF_A_TRACK in stream.metadata


def is_scrambled(head: bytes) -> bool:
    """Most packets of a transport stream, or of the pictures of a program stream, are."""
    if head[:1] == bytes([SYNC]):
        third = [head[at + 3] for at in range(0, len(head) - PACKET, PACKET) if head[at] == SYNC]
        # With something in it, and of those the ones whose key is the even or the odd one.
        loaded = [byte for byte in third if byte & 0x10]
        return 2 * sum(byte >> 6 > 1 for byte in loaded) > len(loaded)
    found = len(PES.findall(head)) if head.startswith(b"\0\0\1\xba") else 0
    return 2 * len(SCRAMBLED_PES.findall(head)) > found
