"""Which pods go first when there shall be fewer: `controller.kubernetes.io/pod-deletion-cost`.

Kubernetes ends the pods with the lowest cost first, among those that are ready. An idle worker's is
0, a busy one's grows with what it has in hand (scale_in.py). Plain HTTPS with the pod's own token
and the cluster's certificate. Knows nothing of workers and of what is wanted.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import urllib3

from shared.errors import JamakError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""What Kubernetes mounts into a pod that may talk to it."""
COST = "controller.kubernetes.io/pod-deletion-cost"
TIMEOUT_S = 5.0
NOT_FOUND = 404


class PodsUnreachable(JamakError):
    reason = "pods_unreachable"
    cure = "Let the scaler's service account patch pods: infra/kubernetes has its role."


@dataclass(frozen=True)
class Cluster:
    """How the API server is reached from a pod."""

    url: str
    folder: Path
    """With `token`, `ca.crt` and `namespace`."""

    @classmethod
    def here(
        cls, environ: Mapping[str, str] = os.environ, folder: Path = ACCOUNT
    ) -> "Cluster | None":
        """None: this process is in no pod, or its pod has no token."""
        host, port = (environ.get(f"KUBERNETES_SERVICE_{what}") for what in ("HOST", "PORT"))
        if not host or not port or not (folder / "token").is_file():
            return None
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", folder)

    @property
    def namespace(self) -> str:
        return (self.folder / "namespace").read_text(encoding="utf-8").strip()

    @property
    def token(self) -> str:
        """It is exchanged while a pod lives, so it is read each time."""
        return (self.folder / "token").read_text(encoding="utf-8").strip()


class Pods:
    """The pods of the namespace that this process is in."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._http = urllib3.PoolManager(ca_certs=str(cluster.folder / "ca.crt"), retries=False)
        self._written: dict[str, int] = {}

    def set_costs(self, costs: Mapping[str, int]) -> None:
        """Those that have changed; the dearest first, for a pod without any counts as idle.

        Raises:
            PodsUnreachable: not all of them are written.
        """
        self._written = {pod: cost for pod, cost in self._written.items() if pod in costs}
        for pod, cost in sorted(costs.items(), key=lambda one: -one[1]):
            if self._written.get(pod) != cost:
                self._patch(pod, cost)
                self._written[pod] = cost

    def _patch(self, pod: str, cost: int) -> None:
        try:
            answer = self._http.request(
                "PATCH",
                f"{self._cluster.url}/api/v1/namespaces/{self._cluster.namespace}/pods/{pod}",
                body=json.dumps({"metadata": {"annotations": {COST: str(cost)}}}),
                headers={
                    "Authorization": f"Bearer {self._cluster.token}",
                    "Content-Type": "application/merge-patch+json",
                },
                timeout=TIMEOUT_S,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise PodsUnreachable(f"the API server does not answer: {error}") from error
        if answer.status >= 300 and answer.status != NOT_FOUND:  # that one has ended
            raise PodsUnreachable(f"{pod}: the API server answers {answer.status}")
