"""Views of a caption for people and players. Knows nothing of where they are written."""

from collections.abc import Iterator
from operator import itemgetter

from shared.messages import Caption
from shared.text import is_blank, plain

Cue = tuple[float, float, str]
"""Start and end in seconds, and what is said."""
SHORTEST_MS = 1
"""A cue has to last."""


def to_json(caption: Caption) -> bytes:
    return caption.model_dump_json(indent=2).encode()


def to_text(caption: Caption) -> bytes:
    """What is said, and an end of line."""
    return f"{plain(caption.text)}\n".encode()


def to_vtt(caption: Caption) -> bytes:
    """WebVTT (w3.org/TR/webvtt1): a cue for each segment, or one over the whole video.

    Its first line, an empty line and cues: what else the header may hold is refused by some.
    """
    cues = []
    for start_s, end_s, text in _cues(caption):
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{cue_time(start_s, '.')} --> {cue_time(end_s, '.')}\n{escaped}\n")
    return ("WEBVTT\n\n" + "\n".join(cues)).encode()


def to_srt(caption: Caption) -> bytes:
    """SubRip: numbered cues, a comma before the milliseconds, no escapes."""
    cues = []
    for number, (start_s, end_s, text) in enumerate(_cues(caption), start=1):
        times = f"{cue_time(start_s, ',')} --> {cue_time(end_s, ',')}"
        cues.append(f"{number}\n{times}\n{text.replace('-->', '→')}\n")
    return "\n".join(cues).encode()


def _cues(caption: Caption) -> Iterator[Cue]:
    """As they are written, in whole milliseconds: each lasts, none begins before the last one
    has begun, and those of segments that do not overlap do not either."""
    whole = [(0.0, caption.duration_s, caption.text)]
    parts = [(part.start_s, part.end_s, part.text) for part in caption.segments]
    until_s, start_ms, free_ms = 0.0, 0, 0
    for start_s, end_s, text in sorted(parts or whole, key=itemgetter(0)):
        # A cue ends at an empty line.
        spoken = "\n".join(line for line in plain(text).splitlines() if not is_blank(line))
        if spoken:
            start_ms = max(start_ms, round(start_s * 1000))
            if start_s >= until_s:
                start_ms = max(start_ms, free_ms)
            end_ms = max(start_ms + SHORTEST_MS, round(end_s * 1000))
            until_s, free_ms = max(until_s, end_s), max(free_ms, end_ms)
            yield start_ms / 1000, end_ms / 1000, spoken


def cue_time(seconds: float, point: str) -> str:
    """hh:mm:ss.ttt"""
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{millis // 1000:02d}{point}{millis % 1000:03d}"
