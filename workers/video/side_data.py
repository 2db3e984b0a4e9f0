"""What a decoder hands on beside a frame: which way up it is, how bright its brightest point.

PyAV reads all of it at once, and cannot if one kind has no name in it: FFmpeg 8 has the views of
spatial films, LCEVC's layers and Exif, which PyAV 18.1 has not. Knows nothing of what it means.
"""

import re
from typing import Any

from workers.video.filters import filtered


def side_data(frame: Any, kind: str) -> bytes | None:
    """Raises av.FFmpegError."""
    while True:
        try:
            found = frame.side_data.get(kind)
        except ValueError as error:
            nameless = re.match(r"\d+", str(error))
            if nameless is None:
                raise
            frame = filtered(frame, "sidedata", f"mode=delete:type={nameless[0]}")
        else:
            return None if found is None else bytes(found)
