"""Transport streams, ISO/IEC 13818-1, as cameras write them: several frames in one packet of the
stream's own, which has the time of the first alone."""

from collections.abc import Sequence

PACKET, PMT, VIDEO, CLOCK = 188, 0x1000, 0x100, 90_000
H264, HEVC = 0x1B, 0x24
FIRST_S = 1.0


def packed(frames: Sequence[bytes], fps: int, each: int, codec: int) -> bytes:
    """Args:
    frames: access units, none of which is shown earlier than the one before.
    each: so many in one packet.
    """
    continuity = {0: 0, PMT: 0, VIDEO: 0}
    program = bytes([0, 1, 0xE0 | PMT >> 8, PMT & 0xFF])
    stream = bytes([codec, 0xE0 | VIDEO >> 8, VIDEO & 0xFF, 0xF0, 0])
    clock = bytes([0xE0 | VIDEO >> 8, VIDEO & 0xFF, 0xF0, 0])
    found = b""
    for first in range(0, len(frames), each):
        found += _packets(0, b"\0" + _section(0, program), continuity)
        found += _packets(PMT, b"\0" + _section(2, clock + stream), continuity)
        time = round((FIRST_S + first / fps) * CLOCK)
        head = b"\0\0\1\xe0\0\0\x80\x80\x05" + _time(time)
        payload = head + b"".join(frames[first : first + each])
        found += _packets(VIDEO, payload, continuity, time - CLOCK // 2)
    return found


def access_units(stream: bytes, begins: bytes) -> list[bytes]:
    """Of a raw stream in which each of them begins with these bytes, a delimiter."""
    return [begins + part for part in stream.split(begins)[1:]]


def _time(time: int) -> bytes:
    parts = (0x21 | time >> 29 & 0xE, time >> 22 & 0xFF, time >> 14 & 0xFE | 1)
    return bytes([*parts, time >> 7 & 0xFF, time << 1 & 0xFE | 1])


def _section(table: int, content: bytes) -> bytes:
    body = bytes([0, 1, 0xC1, 0, 0]) + content
    whole = bytes([table, 0xB0 | len(body) + 4 >> 8, len(body) + 4 & 0xFF]) + body
    return whole + _checksum(whole).to_bytes(4, "big")


def _checksum(section: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in section:
        value ^= byte << 24
        for _ in range(8):
            value = value << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if value & 0x80000000 else 0)
    return value


def _packets(
    pid: int, payload: bytes, continuity: dict[int, int], clock: int | None = None
) -> bytes:
    found, begins = b"", 0x40
    while payload:
        field = b""
        if clock is not None and begins:
            field = b"\x50" + (clock << 15 | 0x7E00).to_bytes(6, "big")
        room = PACKET - 4 - (len(field) + 1 if field else 0)
        part, payload = payload[:room], payload[room:]
        if len(part) < room and (pid == VIDEO or field):
            missing = PACKET - 4 - len(part) - 1
            field = (field or (b"\0" if missing else b"")).ljust(missing, b"\xff")
            adapted = True
        else:
            part, adapted = part.ljust(room, b"\xff"), bool(field)
        flags = (0x30 if adapted else 0x10) | continuity[pid]
        continuity[pid] = continuity[pid] + 1 & 0x0F
        head = bytes([0x47, begins | pid >> 8, pid & 0xFF, flags])
        found += head + (bytes([len(field)]) + field if adapted else b"") + part
        begins = 0
    return found
