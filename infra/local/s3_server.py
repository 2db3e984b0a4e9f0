"""moto's server, as the tests and the demo need it: `python -m infra.local.s3_server`.

It looks once which services it has: of itself it lists the folders of all of them twice for each
request, a seventh of its work. And of conditional writes one wins, as in S3: it looks first and
writes then, and of two threads in between both would.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from moto import backends
from moto.s3.responses import S3Response
from moto.server import main

CHANGES = ("put_object", "_key_response_post", "_key_response_delete")

_lock = threading.RLock()


def _one_at_a_time(change: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(change)
    def locked(*arguments: Any, **named: Any) -> Any:
        with _lock:
            return change(*arguments, **named)

    return locked


if __name__ == "__main__":
    services = list(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services
    for name in CHANGES:
        setattr(S3Response, name, _one_at_a_time(getattr(S3Response, name)))
    main()
