"""Films that take a key to see; what of them is no secret is in order.

Formats: ISO/IEC 23001-7 (MP4), RFC 9559 (Matroska), ISO/IEC 13818-1 (transport and program
streams), and the ASF specification.
"""

import struct

from tests.hostile.contents import good, spliced
from tests.hostile.expected import NOT_A_VIDEO, Made
from tests.hostile.files import clip, element, encoded, mkv, mp4, remuxed, unsigned

PACKET = 188


def encrypted() -> Made:
    key = "00112233445566778899aabbccddeeff"
    scheme = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    yield "rented.mp4", NOT_A_VIDEO, encoded("mp4", muxer=scheme)
    hidden = mp4(good())
    at = hidden.index(b"avc1", hidden.index(b"stsd"))
    yield "rented-hidden.mp4", NOT_A_VIDEO, spliced(hidden, at, b"encv")
    yield "rented.mkv", NOT_A_VIDEO, mkv(good(), of_track=content_key())
    film = encoded("asf", "wmv2")
    yield "rented.wmv", NOT_A_VIDEO, with_object(film, "fbb3112223bdd211b4b700a0c955fc6e", WORDS)
    newer = "14e68a292226174cb935dae07ee9289c"
    yield "rented-newer.wmv", NOT_A_VIDEO, with_object(film, newer, WORDS[:8])
    broadcast = remuxed(mp4(clip(frames=24)), "mpegts")
    yield "for-payment.ts", NOT_A_VIDEO, scrambled(broadcast)
    yield "disc.vob", NOT_A_VIDEO, disc(encoded("vob", "mpeg2video"))


def content_key() -> bytes:
    """Elements of a Matroska track: its frames are encrypted with AES, and the name of the key."""
    how = element(0x5035, unsigned(0x47E1, 5), element(0x47E2, bytes(range(16))))
    kind = unsigned(0x5031, 0) + unsigned(0x5032, 1) + unsigned(0x5033, 1)
    return element(0x6D80, element(0x6240, kind, how))


WORDS = b"".join(struct.pack("<I", len(one)) + one for one in (b"data", b"DRM\0", b"1\0", b"x:\0"))


def with_object(film: bytes, kind: str, body: bytes) -> bytes:
    """One more in the header of a Windows Media file, which tells its size and how many it has."""
    size, count = struct.unpack_from("<QI", film, 16)
    one = bytes.fromhex(kind) + struct.pack("<Q", 24 + len(body)) + body
    told = spliced(film, 16, struct.pack("<QI", size + len(one), count + 1))
    return told[:size] + one + told[size:]


def scrambled(stream: bytes) -> bytes:
    """What the packets of the film hold is changed, and they say so; tables are left alone."""
    found = bytearray(stream)
    for at in range(0, len(found), PACKET):
        if (found[at + 1] & 0x1F) << 8 | found[at + 2] != 0x100:
            continue
        found[at + 3] |= 0x80
        begin = at + 4 + (1 + found[at + 4] if found[at + 3] & 0x20 else 0)
        for place in range(begin, at + PACKET):
            found[place] ^= 0x55
    return bytes(found)


def disc(stream: bytes) -> bytes:
    """As a DVD is copied without its key: what follows the head of each packet is changed."""
    found, at = bytearray(stream), stream.find(b"\0\0\1\xe0")
    while at >= 0:
        end = min(at + 6 + int.from_bytes(found[at + 4 : at + 6], "big"), len(found))
        found[at + 6] |= 0x10
        for place in range(at + 9 + found[at + 8], end):
            found[place] ^= 0x55
        at = stream.find(b"\0\0\1\xe0", end)
    return bytes(found)
