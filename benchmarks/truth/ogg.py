"""Pages of an Ogg file, RFC 3533: replaces packets by empty ones.

Each of Theora's packets of pictures must be whole in its page, and begin there.
"""

POLYNOMIAL = 0x04C11DB7
HEADERS = 3
"""Packets of Theora before the first picture."""


def with_repeats(file: bytes, numbers: frozenset[int]) -> bytes:
    """The pictures of these numbers have no bytes."""
    found, at, packet = b"", 0, -HEADERS
    while at < len(file):
        segments = file[at + 27 : at + 27 + file[at + 26]]
        body = at + 27 + len(segments)
        size = sum(segments)
        lacing, payload = b"", b""
        start, place = 0, 0
        for end, length in enumerate(segments):
            place += length
            if length == 255 and end + 1 < len(segments):
                continue
            whole = file[body + place - sum(segments[start : end + 1]) : body + place]
            if packet in numbers:
                lacing += b"\0"
            else:
                lacing, payload = lacing + segments[start : end + 1], payload + whole
            packet += length < 255
            start = end + 1
        page = file[at : at + 22] + bytes(4) + bytes([len(lacing)]) + lacing + payload
        found += page[:22] + _checksum(page).to_bytes(4, "little") + page[26:]
        at = body + size
    return found


def _checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = value << 1 & 0xFFFFFFFF ^ (POLYNOMIAL if value & 0x80000000 else 0)
    return value
