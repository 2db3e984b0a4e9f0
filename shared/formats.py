"""Views of a caption for people and players. Knows nothing of where they are written."""

from shared.messages import Caption


def to_json(caption: Caption) -> bytes:
    return caption.model_dump_json(indent=2).encode()


def to_vtt(caption: Caption) -> bytes:
    """WebVTT (w3.org/TR/webvtt1) with one cue over the whole video."""
    text = caption.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A cue ends at an empty line.
    lines = "\n".join(line for line in text.splitlines() if line.strip())
    end = vtt_time(max(caption.duration_s, 0.001))
    return f"WEBVTT\nLanguage: ko\n\n{vtt_time(0)} --> {end}\n{lines}\n".encode()


def vtt_time(seconds: float) -> str:
    """hh:mm:ss.ttt"""
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{millis // 1000:02d}.{millis % 1000:03d}"
