"""What may come of a hostile file."""

from collections.abc import Iterator

OK = frozenset({"ok"})
PARTIAL = frozenset({"partial"})
SHOWN = OK | PARTIAL
NOT_A_VIDEO = frozenset({"not_a_video"})
TRUNCATED = frozenset({"truncated"})
UNREADABLE = NOT_A_VIDEO | TRUNCATED
NO_VIDEO_STREAM = frozenset({"no_video_stream"})
TOO_LARGE = frozenset({"too_large"})
TOO_SLOW = frozenset({"too_slow"})
ANY = SHOWN | UNREADABLE | NO_VIDEO_STREAM | TOO_LARGE | TOO_SLOW
Made = Iterator[tuple[str, frozenset[str], bytes]]
"""Name, what may come of it, content."""
