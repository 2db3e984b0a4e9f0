"""What a process of the stack answers on its port: its metrics, and whether it is ready."""

import http.client
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from infra.local.ports import LOOPBACK

TIMEOUT_S = 5.0


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body. Raises OSError: nothing listens there yet."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def read_metrics(port: int) -> Iterator[Sample]:
    """Raises OSError: nothing listens there yet."""
    for family in text_string_to_metric_families(ask(port, "/metrics")[1]):
        yield from family.samples


def is_ready(port: int) -> bool:
    try:
        return ask(port, "/readyz")[0] == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
