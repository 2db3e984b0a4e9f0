"""What the orchestrator asks over HTTP: `/livez`, `/readyz` and, for Prometheus, `/metrics`.

Answers come from what was really done lately, not from the process being there.
"""

import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from workers.delivery.leases import Leases

SILENT_TIMEOUTS = 2
"""Lease timeouts without an answer of Redis: not ready any more."""


class Health:
    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def live(self) -> str | None:
        """What is wrong so that a restart would help; None = nothing."""
        asleep_s = time.monotonic() - self._leases.kept_at
        if asleep_s > SILENT_TIMEOUTS * self._leases.queues.timeout_s:
            return f"leases were not kept for {asleep_s:.0f} s"
        return None

    def ready(self) -> str | None:
        """Why no work is taken; None = it is."""
        if not self._leases.taking:
            return "draining"
        silent_s = time.monotonic() - self._leases.answered_at
        if silent_s > SILENT_TIMEOUTS * self._leases.queues.timeout_s:
            return f"Redis has not answered for {silent_s:.0f} s"
        return None


def serve(health: Health, host: str, port: int) -> None:
    """In a thread of its own, for as long as the process lives."""
    metrics = make_wsgi_app()
    probes: dict[str, Callable[[], str | None]] = {"/livez": health.live, "/readyz": health.ready}

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        probe = probes.get(environ["PATH_INFO"])
        if probe is None:
            return cast(Iterable[bytes], metrics(environ, start_response))
        wrong = probe()
        status = "503 Service Unavailable" if wrong else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{wrong or 'ok'}\n".encode()]

    server = make_server(host, port, application, _Server, _Quiet)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds."""
