"""What the shell may offer next, where that is known to the bucket or to Redis alone.

A completion answers within a second or says nothing: no error and no line of a log may end up in
the command that somebody is typing.
"""

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from producer.bucket.reasons import known_reasons

PATIENCE_S = 1.0


def complete(command: Any) -> int:
    """Answer the shell, which asks by way of the environment."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        command.main([], prog_name="jamak")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except Exception:  # an import that fails, a file that cannot be read: there is no answer
        return 1
    return 0


def backlogs(incomplete: str) -> list[str]:
    def names() -> Iterable[str]:
        from producer.backlog.manifest import backlog_names
        from shared.bucket.storage import ObjectStore
        from shared.settings import load_settings

        return backlog_names(ObjectStore(tries=1), load_settings())

    return _beginning(incomplete, names)


def adapters(incomplete: str) -> list[str]:
    def versions() -> Iterable[str]:
        from shared.bucket.storage import ObjectStore
        from shared.settings import load_settings

        settings = load_settings()
        listed = ObjectStore(tries=1).list(
            settings.output_bucket, f"{settings.output_prefix}adapters/"
        )
        return (one.key.split("/")[-2] for one in listed if one.key.endswith("/manifest.json"))

    return _beginning(incomplete, versions)


def set_aside(incomplete: str) -> list[str]:
    def ids() -> Iterable[str]:
        from producer.jobs.set_aside import all_set_aside
        from shared.broker.apps import caption_prefix, leased_queues, train_prefix
        from shared.settings import load_settings

        settings = load_settings()
        for prefix in caption_prefix(settings), train_prefix(settings):
            yield from (one.id for one in all_set_aside(leased_queues(settings, prefix)))

    return _beginning(incomplete, ids)


def reasons(incomplete: str) -> list[str]:
    """Those that a failure may have."""
    return _beginning(incomplete, known_reasons)


def _beginning(start: str, find: Callable[[], Iterable[str]]) -> list[str]:
    found: list[str] = []

    def look() -> None:
        try:
            found.extend(sorted(one for one in find() if one.startswith(start)))
        except Exception:  # whatever it is, nobody asked for it
            found.clear()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return list(found)
