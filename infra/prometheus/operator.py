"""What the Prometheus operator wants instead of a configuration: the pods to scrape, and our rules.

As text, so that the rules keep their comments. Knows nothing of what they ask.
"""

from pathlib import Path
from textwrap import indent

RULES = Path(__file__).parent / "rules"

OBJECTS = """\
# Made by python -m infra.prometheus.
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: jamak
  labels: {app.kubernetes.io/part-of: jamak}
spec:
  namespaceSelector: {matchNames: [jamak]}
  selector:
    matchExpressions:
      - {key: app.kubernetes.io/name, operator: Exists}
  podMetricsEndpoints:
    - {port: metrics, interval: 15s}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: jamak
  labels: {app.kubernetes.io/part-of: jamak}
spec:
  groups:
"""


def manifests() -> str:
    groups = (file.read_text(encoding="utf-8").partition("groups:\n")[2] for file in _files())
    return OBJECTS + indent("".join(groups), "  ")


def _files() -> list[Path]:
    return sorted(RULES.glob("*.yml"))
