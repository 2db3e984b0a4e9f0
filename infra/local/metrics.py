"""What a process of the stack says about itself on its Prometheus port."""

import http.client
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from infra.local.ports import LOOPBACK

TIMEOUT_S = 5.0


def read_metrics(port: int) -> Iterator[Sample]:
    """Raises OSError: nothing listens there yet."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    for family in text_string_to_metric_families(text):
        yield from family.samples


def serves_metrics(port: int) -> bool:
    try:
        return any(read_metrics(port))
    except (OSError, http.client.HTTPException):
        return False
