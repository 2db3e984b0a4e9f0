"""Pictures that are built like an MP4: HEIC as phones write it, in tiles (ISO/IEC 23008-12)."""

import io
import struct
from typing import Any

import av

from tests.hostile.files import SIZE, box, encoded, numbers

HEVC = {"preset": "ultrafast", "x265-params": "log-level=0:pools=1:frame-threads=1"}


def heic() -> bytes:
    """Two tiles, side by side: the first picture of a film."""
    source = encoded("mp4", "libx265", 4, options=HEVC)
    with av.open(io.BytesIO(source)) as container:
        stream: Any = container.streams.video[0]
        tile, config = bytes(next(container.demux(stream))), bytes(stream.codec_context.extradata)
    width, height = SIZE
    grid = struct.pack(">BBBBHH", 0, 0, 0, 1, 2 * width, height)
    items = ((1, b"hvc1"), (2, b"hvc1"), (3, b"grid"))
    described = [
        box(b"infe", numbers(2 << 24), struct.pack(">HH", number, 0), kind, b"\0")
        for number, kind in items
    ]
    properties = box(
        b"ipco",
        box(b"hvcC", config),
        box(b"ispe", numbers(0, width, height)),
        box(b"ispe", numbers(0, 2 * width, height)),
    )
    belong = struct.pack(">HBBBHBBBHBB", 1, 2, 0x81, 2, 2, 2, 0x81, 2, 3, 1, 3)
    head = box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(media_at: int) -> bytes:
        places = b"".join(
            struct.pack(">HHHHII", number, method, 0, 1, at, size)
            for number, method, at, size in (
                (1, 0, media_at, len(tile)),
                (2, 0, media_at, len(tile)),
                (3, 1, 0, len(grid)),
            )
        )
        return box(
            b"meta",
            numbers(0),
            box(b"hdlr", numbers(0, 0), b"pict", bytes(13)),
            box(b"pitm", numbers(0), struct.pack(">H", 3)),
            box(b"iloc", numbers(1 << 24), struct.pack(">BBH", 0x44, 0, 3), places),
            box(b"iinf", numbers(0), struct.pack(">H", 3), *described),
            box(b"iref", numbers(0), box(b"dimg", struct.pack(">HHHH", 3, 2, 1, 2))),
            box(b"iprp", properties, box(b"ipma", numbers(0, 3), belong)),
            box(b"idat", grid),
        )

    media_at = len(head) + len(meta(0)) + 8
    return head + meta(media_at) + box(b"mdat", tile)
