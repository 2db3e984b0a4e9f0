"""What KEDA, Prometheus and the API server of Kubernetes see of the scaler, over real HTTP."""

import json
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.local.metrics import ask, is_ready, read_metrics
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT, read_procfile
from producer.scaling.answers import STALE_S, Answers, Look, look_once
from producer.scaling.pods import COST, Cluster, Pods, PodsUnreachable
from producer.scaling.serve import Scaler, page_of, readings_of
from shared.errors import BrokerUnavailable
from shared.settings import Settings
from shared.telemetry.metrics import registry_of
from shared.telemetry.page import documented
from shared.telemetry.probes import serve
from tests.scaling import Fleet
from tests.telemetry import check_log
from tests.tls import make_certificate

pytestmark = pytest.mark.integration

L4 = "caption.l4"


class Served:
    """The scaler of a fleet, with a clock and a Redis that can be taken away."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.now, self.away = fleet, 1000.0, False
        self.answers = Answers(self._look, 30, clock=lambda: self.now)
        self.scaler = Scaler(self.answers, lambda seconds: True)  # one look each time that it runs
        self.port = free_port()
        registry = registry_of("scaler", *readings_of(self.answers))
        page = page_of(self.answers, fleet.settings)
        serve(self.scaler.health, registry, LOOPBACK, self.port, page)

    def _look(self) -> Look:
        if self.away:
            raise BrokerUnavailable("Redis does not answer")
        return look_once(self.fleet.settings, self.fleet.queues, self.fleet.training)

    def asked(self, path: str) -> tuple[int, dict[str, Any]]:
        status, body = ask(self.port, path)
        return status, json.loads(body)

    def gauges(self) -> dict[tuple[str, ...], float]:
        return {
            (one.name, *one.labels.values()): one.value
            for one in read_metrics(self.port)
            if one.name.startswith("jamak_scale")
            or one.labels.get("source", "").startswith("scale")  # other tests read others
        }


@pytest.fixture
def served(redis_url: str) -> Iterator[Served]:
    settings = Settings(
        redis_url=redis_url,
        redis_prefix=f"test-{free_port()}",
        model="vicuna-7b",
        scale_classes=("l4", "h100"),
    )
    made = Served(Fleet(settings))
    yield made
    for key in made.fleet.queues.redis.scan_iter(f"{settings.redis_prefix}*"):
        made.fleet.queues.redis.delete(key)


def test_an_answer_is_a_number_or_503_with_the_reason(served: Served) -> None:
    assert served.asked("/v1/scale/l4") == (
        503,
        {"class": "l4", "reason": "what is known is 0 s old: nothing was measured yet", "age_s": 0},
    )
    assert served.asked("/readyz")[0] == 503
    served.fleet.put(L4, 3000)
    served.scaler.run()
    status, told = served.asked("/v1/scale/l4")
    assert status == 200 and told["wanted"] > 1 and told["units"]["waiting"] == 3000
    assert "for what waits or is in flight" in told["reason"]
    assert served.asked("/v1/scale/train")[1]["wanted"] == 0
    assert served.asked("/readyz")[0] == 200

    served.away = True
    served.now += STALE_S - 1
    served.scaler.run()
    assert served.asked("/v1/scale/l4")[1]["wanted"] == told["wanted"]
    served.now += 2
    for name in ("l4", "h100", "train"):
        status, refused = served.asked(f"/v1/scale/{name}")
        assert status == 503 and "wanted" not in refused
        assert refused["reason"] == "what is known is 61 s old: Redis does not answer"


@pytest.mark.parametrize("name", ["a100", "", "l4/", "../metrics"])
def test_what_is_not_scaled_is_not_found(served: Served, name: str) -> None:
    served.scaler.run()
    assert served.asked(f"/v1/scale/{name}")[0] == 404


def test_gauges_are_all_there_or_absent_and_their_age_always(served: Served) -> None:
    served.fleet.put(L4, 3000)
    served.fleet.worker("l4", units_per_full_s=2.0, cold_start_s=20.0)
    before = served.gauges()
    assert before == {
        ("jamak_scrape_error", "scale"): 1,
        ("jamak_scrape_error", "scale_age"): 0,
        ("jamak_scale_data_age_seconds",): 0,
    }
    served.scaler.run()
    told = served.gauges()
    assert told["jamak_scale_units", "l4", "waiting"] == 3000
    assert told["jamak_scale_rate_units", "l4"] == 2
    assert told["jamak_scale_cold_start_seconds", "l4"] == 200
    assert told["jamak_scale_backlog_seconds", "l4"] == 1500
    assert told["jamak_scale_running", "l4"] == 1
    assert told["jamak_scale_wanted", "h100"] == told["jamak_scale_wanted", "train"] == 0
    scale = {name for name in documented("scaler") if name.startswith("jamak_scale")}
    assert {labels[0] for labels in told} == scale | {"jamak_scrape_error"}
    served.now += STALE_S + 1
    assert served.gauges() == {**before, ("jamak_scale_data_age_seconds",): STALE_S + 1}


# Kubernetes


class Api(ThreadingHTTPServer):
    """Stands for the API server: what was asked of it, and what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Patched)
        self.patched: list[tuple[str, dict[str, Any], str, str]] = []
        self.status: dict[str, int] = {}


class _Patched(BaseHTTPRequestHandler):
    server: Api

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.rpartition("/")[2]
        told = self.headers["Authorization"], self.headers["Content-Type"]
        self.server.patched.append((self.path, body, *told))
        self.send_response(self.server.status.get(name, 200))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def api_server(certificate: Path, key: Path) -> Iterator[Api]:
    server = Api()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """As Kubernetes mounts it."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    certificate, _ = make_certificate(tmp_path)
    (folder / "ca.crt").write_bytes(certificate.read_bytes())
    (folder / "token").write_text("a-token\n")
    (folder / "namespace").write_text("captions")
    return folder


@pytest.fixture
def api(account: Path) -> Iterator[Api]:
    with api_server(account.parent / "certificate.pem", account.parent / "key.pem") as server:
        yield server


def cluster(api: Api, account: Path) -> Cluster:
    environ = {
        "KUBERNETES_SERVICE_HOST": LOOPBACK,
        "KUBERNETES_SERVICE_PORT": str(api.server_port),
    }
    found = Cluster.here(environ, account)
    assert found is not None
    return found


def test_costs_are_patched_with_the_pods_own_token_the_dearest_first(
    api: Api, account: Path
) -> None:
    pods = Pods(cluster(api, account))
    pods.set_costs({"idle": 0, "busy": 40})
    (account / "token").write_text("another-token")
    pods.set_costs({"idle": 0, "busy": 12})
    place = "/api/v1/namespaces/captions/pods/"
    kind = "application/merge-patch+json"

    def body(cost: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {COST: cost}}}

    assert api.patched == [
        (f"{place}busy", body("40"), "Bearer a-token", kind),
        (f"{place}idle", body("0"), "Bearer a-token", kind),
        (f"{place}busy", body("12"), "Bearer another-token", kind),  # the other is as it was
    ]


def test_a_pod_that_has_ended_is_no_failure_and_a_refusal_is(api: Api, account: Path) -> None:
    pods = Pods(cluster(api, account))
    api.status = {"gone": 404, "theirs": 403}
    pods.set_costs({"gone": 5, "ours": 0})
    with pytest.raises(PodsUnreachable, match="theirs: the API server answers 403"):
        pods.set_costs({"theirs": 9})
    api.status = {}
    pods.set_costs({"theirs": 9})  # it was not written, so it is tried again
    assert [path.rpartition("/")[2] for path, *_ in api.patched][-2:] == ["theirs", "theirs"]


def test_an_api_server_that_nobody_vouches_for_gets_no_token(
    api: Api, account: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, _ = make_certificate(tmp_path / "other")
    (account / "ca.crt").write_bytes(other.read_bytes())
    with pytest.raises(PodsUnreachable, match="does not answer"):
        Pods(cluster(api, account)).set_costs({"a": 0})
    assert api.patched == []


def test_outside_of_a_cluster_there_are_no_pods(account: Path) -> None:
    assert Cluster.here({}, account) is None
    environ = {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = Cluster.here(environ, account)
    assert found and found.url == "https://[::1]:443"
    (account / "token").unlink()
    assert Cluster.here(environ, account) is None


def test_the_process_of_the_procfile_answers_and_ends_when_it_is_asked_to(
    served: Served, tmp_path: Path
) -> None:
    fleet, port = served.fleet, free_port()
    fleet.put(L4, 3000)
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JAMAK_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "JAMAK_REDIS_URL": fleet.settings.redis_url.get_secret_value(),
        "JAMAK_REDIS_PREFIX": fleet.settings.redis_prefix,
        "JAMAK_SCALE_CLASSES": "l4",
        "JAMAK_METRICS_PORT": str(port),
    }
    shell = ["/bin/sh", "-c", read_procfile()["scaler"]]
    process = Process("scaler", shell, log=tmp_path / "log", env=env, cwd=ROOT)
    try:
        process.wait_until(lambda: is_ready(port), 60)
        status, body = ask(port, "/v1/scale/l4")
        assert (status, json.loads(body)["wanted"]) == (200, fleet.look()["l4"].wanted.replicas)
    finally:
        stop([process])
    assert process.poll() == 0
    assert check_log(process.log)
