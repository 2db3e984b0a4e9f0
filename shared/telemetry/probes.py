"""What an orchestrator and Prometheus ask over HTTP: `/livez`, `/readyz` and `/metrics`.

Answers come from what was really done lately, not from the process being there. Each request has
a thread of its own, so that slow metrics never keep a probe waiting.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socket import AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from shared.errors import ConfigError
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.readers import READERS, Readers

REQUEST_S = 10
"""For a client to say what it wants."""

log = get_logger("jamak.probes")


Page = Callable[[str], tuple[int, dict[str, Any]] | None]
"""A path -> the status and the JSON object that it answers with; None: there is no such page."""


def serve(
    health: Health,
    registry: CollectorRegistry,
    host: str,
    port: int,
    page: Page = lambda path: None,
    readers: Readers = READERS,
) -> None:
    """In a thread of its own, for as long as the process lives; port 0: not at all.

    Args:
        page: what else this process answers.
        readers: they are told when somebody has read the metrics.

    Raises:
        ConfigError: the port is taken, or the address is none of this machine.
    """
    if not port:
        return
    metrics = make_wsgi_app(registry)
    probes: dict[str, Callable[[], str | None]] = {"/livez": health.live, "/readyz": health.ready}

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            began_at = time.monotonic()
            told = cast(Iterable[bytes], metrics(environ, start_response))
            readers.read(began_at)
            return told
        if path not in probes:
            if found := page(path):
                code, answer = found
                return _json(start_response, f"{code} {HTTPStatus(code).phrase}", answer)
            return _answer(start_response, "404 Not Found", "/metrics, /livez and /readyz are here")
        wrong = probes[path]()
        facts = health.facts() if path == "/readyz" else {}
        said = "503 Service Unavailable" if wrong else "200 OK"
        return _answer(start_response, said, wrong, **facts)

    try:
        kind = _Server6 if ":" in host else _Server
        server = make_server(host, port, application, kind, _Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"JAMAK_METRICS_HOST={host} JAMAK_METRICS_PORT={port}: {error}",
            cure="Give each process of a machine a port of its own; 0.0.0.0 is every address.",
        ) from error
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    log.info("answering probes", host=host, port=port)


def _answer(start_response: Any, status: str, wrong: str | None, **facts: Any) -> list[bytes]:
    return _json(start_response, status, {"ok": wrong is None, "reason": wrong, **facts})


def _json(start_response: Any, status: str, told: dict[str, Any]) -> list[bytes]:
    body = json.dumps(told, ensure_ascii=False) + "\n"
    start_response(status, [("Content-Type", "application/json; charset=utf-8")])
    return [body.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without asking DNS for our name, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone, or never said what it wanted."""


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds."""
