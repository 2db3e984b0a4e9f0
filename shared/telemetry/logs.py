"""Logs: one JSON object a line on stderr, whoever speaks.

A program that only uses our code calls `configure_logging`. A process of the Procfile calls
`log_everything`: then libraries that print, warnings and what nobody caught are log lines, too.
What stays plain text is what native code and `faulthandler` say while the process dies.
"""

import io
import logging
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from shared.errors import ConfigError, JamakError
from shared.shown import safe_json, without_passwords

EX_CONFIG = ConfigError.exit_code
"""sysexits.h: starting again without changing something cannot help."""
LONGEST_LINE = 8192
"""Of what others print, in characters; the rest is on the next line."""
CHATTY = ("botocore", "boto3", "urllib3", "s3transfer", "celery.worker.strategy", "httpx")


def configure_logging(level: str) -> None:
    """Our loggers and those of the libraries, from this level on."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,  # what nobody sees costs nothing
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _shown,
                structlog.processors.JSONRenderer(ensure_ascii=False),
                _commanding_nothing,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def log_everything(level: str) -> None:
    """This process belongs to us: whatever is said in it is said as a log line."""
    # Before they are imported. A bar that draws itself anew is a thousand lines in a log.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    stderr = _stderr()
    if isinstance(stderr, io.TextIOWrapper):
        # Whatever the locale. What cannot be written, a lone surrogate, is \\udc00: as JSON has it.
        stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    configure_logging(level)
    logging.captureWarnings(True)
    sys.stdout = _Lines("stdout", logging.INFO, sys.__stdout__ or stderr)
    sys.stderr = _Lines("stderr", logging.WARNING, stderr)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


@contextmanager
def refusing() -> Iterator[None]:
    """Around a process that logs: what it cannot go on with is its last line.

    Raises:
        SystemExit: with the code of the error: 78, something must be configured first.
    """
    try:
        yield
    except JamakError as error:
        config = isinstance(error, ConfigError)
        get_logger("jamak.start").critical(
            "refusing to start" if config else "cannot go on",
            message=str(error),
            cure=error.cure,
            reason=error.reason,
        )
        sys.exit(error.exit_code)


class _Lines(io.TextIOBase):
    """A stream whose lines are log lines."""

    def __init__(self, name: str, level: int, real: TextIO) -> None:
        self.real, self._level = real, level
        self._logger = logging.getLogger(name)
        self._begun = threading.local()

    encoding = "utf-8"
    errors = "backslashreplace"

    def write(self, text: str) -> int:
        if getattr(self._begun, "busy", False):
            return len(text)  # logging itself complains: there is nobody left to tell
        *lines, rest = (getattr(self._begun, "line", "") + text).split("\n")
        while len(rest) > LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._begun.line = rest
        self._tell(lines)
        return len(text)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """A line is told when it is whole."""

    def fileno(self) -> int:
        """For libraries that hand it to a child or to C."""
        return self.real.fileno()

    def _tell(self, lines: list[str]) -> None:
        self._begun.busy = True
        try:
            for line in lines:
                # Of what drew over itself, the last.
                if shown := line.rstrip().rpartition("\r")[2].rstrip():
                    self._logger.log(self._level, "%s", shown)
        finally:
            self._begun.busy = False


def _stderr() -> TextIO:
    """The true one, also behind ours."""
    return sys.stderr.real if isinstance(sys.stderr, _Lines) else sys.stderr


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("jamak.uncaught").critical("uncaught", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else "?"
    logging.getLogger("jamak.uncaught").critical(
        "uncaught in thread %s",
        name,
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )


def _unraisable(args: Any) -> None:
    logging.getLogger("jamak.uncaught").error(
        "%s: %r",
        args.err_msg or "exception ignored in",
        args.object,
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )


def _shown(logger: Any, name: str, event: EventDict) -> EventDict:
    """NaN and infinities as text: JSON has none, and who reads the log may be strict. And no
    password: libraries quote addresses, also in their tracebacks."""
    return {key: _as_json(value) for key, value in event.items()}


def _commanding_nothing(logger: Any, name: str, line: Any) -> str:
    return safe_json(str(line))


def _as_json(value: Any) -> Any:
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, BaseException):
        return without_passwords(repr(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(one) for one in value]
    return value
