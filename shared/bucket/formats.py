"""Views of a caption for people and players. Knows nothing of where they are written."""

from collections.abc import Iterator

from shared.messages import Caption

Cue = tuple[float, float, str]
"""Start and end in seconds, and what is said."""
SHORTEST_S = 0.001
"""A cue has to last."""


def to_json(caption: Caption) -> bytes:
    return caption.model_dump_json(indent=2).encode()


def to_text(caption: Caption) -> bytes:
    """What is said, and an end of line."""
    return f"{caption.text}\n".encode()


def to_vtt(caption: Caption) -> bytes:
    """WebVTT (w3.org/TR/webvtt1): a cue for each segment, or one over the whole video."""
    lines = ["WEBVTT", "Language: ko", ""]
    for start_s, end_s, text in _cues(caption):
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        lines += [f"{cue_time(start_s, '.')} --> {cue_time(end_s, '.')}", escaped, ""]
    return ("\n".join(lines[:-1]) + "\n").encode()


def to_srt(caption: Caption) -> bytes:
    """SubRip: numbered cues, a comma before the milliseconds, no escapes."""
    cues = []
    for number, (start_s, end_s, text) in enumerate(_cues(caption), start=1):
        times = f"{cue_time(start_s, ',')} --> {cue_time(end_s, ',')}"
        cues.append("\n".join((str(number), times, text.replace("-->", "→"), "")))
    return "\n".join(cues).encode()


def _cues(caption: Caption) -> Iterator[Cue]:
    whole = [(0.0, caption.duration_s, caption.text)]
    parts = [(part.start_s, part.end_s, part.text) for part in caption.segments]
    for start_s, end_s, text in parts or whole:
        # A cue ends at an empty line.
        spoken = "\n".join(line for line in text.splitlines() if line.strip())
        if spoken or not parts:
            yield start_s, max(end_s, start_s + SHORTEST_S), spoken


def cue_time(seconds: float, point: str) -> str:
    """hh:mm:ss.ttt"""
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{millis // 1000:02d}{point}{millis % 1000:03d}"
