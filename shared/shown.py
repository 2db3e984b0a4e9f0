"""What may reach a reader, whoever wrote it: no control character, and no password.

Keys, captions, errors of libraries and lines of a log hold what others put in: it would move the
cursor, recolour the terminal, or turn round how a line reads. And libraries quote the addresses
that they could not use. Every console and every log line goes through here. Knows nothing of who
reads.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

_TURNING = (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""They turn the direction of writing, or break a line without being a line break.
unicode.org, "Bidirectional Algorithm" (UAX #9), explicit formatting."""
_CONTROLS = (*range(32), *range(127, 160))

_VISIBLE = {code: f"\\x{code:02x}" for code in _CONTROLS if chr(code) not in "\n\t"}
_VISIBLE |= {code: f"\\u{code:04x}" for code in _TURNING}
_IN_JSON = {code: f"\\u{code:04x}" for code in (*range(127, 160), *_TURNING)}
"""JSON escapes those below 32 anyway."""

_LOGIN = re.compile(
    # Of a web address what stands before the host: a path may hold an @. Of a broker's everything
    # up to the last @: a password that is not percent-encoded may hold any sign.
    r"\b(https?)://[^\s/?#]*@"
    r"|\b((?!s3:|file:|https?:)[a-z][a-z0-9+.-]{0,30})://(?!user:password@)(?:(?!://)\S)*@",
    re.IGNORECASE,
)


def visible(text: str) -> str:
    """Shown, not obeyed. Line breaks and tabs stay."""
    return text.translate(_VISIBLE)


def without_passwords(text: str) -> str:
    """`redis://***@host:6379/0`, wherever in a text an address stands."""
    return _LOGIN.sub(lambda found: f"{found[1] or found[2]}://***@", text)


def for_people(text: str) -> str:
    return visible(without_passwords(text))


def as_json(value: Any, *, ascii_only: bool = False) -> str:
    """One line, which no terminal obeys; it reads back as the same value."""
    return safe_json(json.dumps(value, ensure_ascii=ascii_only))


def safe_json(line: str) -> str:
    """Of a JSON text: its strings are the only place for such characters."""
    return line.translate(_IN_JSON)


def utc(at: datetime, *, seconds: bool = False) -> str:
    """`2026-11-30 08:00 UTC`, in whichever zone it was told: moments are compared by eye."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M{':%S' if seconds else ''} UTC}"
