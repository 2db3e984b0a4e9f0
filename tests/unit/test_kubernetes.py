"""The manifests keep what they promise to each other, to the code and to the clouds."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.autoscaling.cluster import DRAIN_S, NODE_STAYS_S
from benchmarks.autoscaling.jamak import COOLDOWN_S, POLLING_S, Jamak
from benchmarks.autoscaling.kubernetes import Policy, Rules
from infra.local.procfile import ROOT, read_procfile
from producer.scaling.answers import TRAIN, Answer
from producer.scaling.policy import Wanted
from producer.scaling.serve import PATH
from shared.broker.apps import CAPTION_QUEUES
from shared.cards import CLASSES, GPU_CLASSES, served_queues
from shared.settings import Settings
from shared.signals import GRACE_S
from tests.manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    container,
    environment,
    line_of_procfile,
    named,
    of_kind,
    overlay,
    pods,
    render,
)
from workers.delivery.drain import GOODBYE_S, LONGEST_FINISH_S

NOTICE_S = 120
"""AWS takes a spot node so long after it has said so."""
HEARD_S = 10
"""Until Karpenter has read that and asked the pods to end."""
COLD_START_S = 600
"""From the wish for a worker to its first caption, on a slow day: node, image, weights."""
AWS = re.compile(r"AWS_(DEFAULT_REGION|ENDPOINT_URL|ACCESS_KEY_ID|SECRET_ACCESS_KEY)")
SECRET = re.compile(r"REDIS_URL|PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL")
LABEL = "jamak/card"


def every_pod() -> Iterator[tuple[str, str, Manifest]]:
    for name in OVERLAYS:
        for owner, template in pods(overlay(name)):
            yield name, owner, template


def captioners(name: str) -> dict[str, Manifest]:
    """Card class -> template of its pods."""
    return {
        template["metadata"]["labels"][LABEL]: template
        for _, template in pods(overlay(name))
        if "workers.app:captions" in container(template)["command"]
    }


def setting(name: str, template: Manifest, variable: str) -> Any:
    """What the code makes of it."""
    field = variable.removeprefix("JAMAK_").lower()
    given = environment(overlay(name), template)
    return getattr(Settings(**{field: given[variable]} if variable in given else {}), field)


# What runs


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_line_of_the_procfile_has_its_pods(name: str) -> None:
    running = {line_of_procfile(template) for _, template in pods(overlay(name))}
    assert set(read_procfile().values()) == running


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_variable_is_a_setting_or_aws_s_own(name: str) -> None:
    known = {f"JAMAK_{field.upper()}" for field in Settings.model_fields}
    for owner, template in pods(overlay(name)):
        unknown = {
            variable
            for variable in environment(overlay(name), template)
            if variable not in known and not AWS.fullmatch(variable)
        }
        assert not unknown, owner


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_value_is_one_that_the_settings_take(name: str) -> None:
    for _, template in pods(overlay(name)):
        given = environment(overlay(name), template)
        fields = {
            variable.removeprefix("JAMAK_").lower(): value
            for variable, value in given.items()
            if value is not None and variable.startswith("JAMAK_")
        }
        Settings(**fields)


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_pod_says_what_is_so_anyway(name: str) -> None:
    """Of a pod it counts more than settings.env, where somebody may have written another value."""
    for owner, template in pods(overlay(name)):
        for one in container(template).get("env", []):
            if "value" in one:
                default = Settings.model_fields[one["name"].removeprefix("JAMAK_").lower()].default
                assert setting(name, template, one["name"]) != default, (owner, one["name"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_secret_is_a_reference(name: str) -> None:
    assert not of_kind(overlay(name), "Secret")
    for owner, template in pods(overlay(name)):
        for variable, value in environment(overlay(name), template).items():
            if SECRET.search(variable):
                assert value is None, (owner, variable)
            assert not re.search(r"://[^/]*@", value or ""), (owner, variable)
    told = [one for one in overlay(name) if one["kind"] != "ConfigMap"]
    assert "REDIS_URL': '" not in str(told)


def test_each_role_has_its_own_redis_user() -> None:
    users = set(
        re.findall(r"^user jamak-(\w+) ", (ROOT / "infra/redis/users.acl").read_text(), re.M)
    )
    asked = {
        one["valueFrom"]["secretKeyRef"]["name"].removeprefix("jamak-redis-")
        for _, _, template in every_pod()
        for one in container(template).get("env", [])
        if one["name"] == "JAMAK_REDIS_URL"
    }
    assert asked == users - {"operator"}


def test_what_is_applied_in_production_is_named_by_digest() -> None:
    images = [container(template)["image"] for _, template in pods(overlay("eks"))]
    images += [
        volume["image"]["reference"]
        for _, template in pods(overlay("eks"))
        for volume in template["spec"]["volumes"]
        if "image" in volume
    ]
    assert len(images) >= 13
    assert [one for one in images if not re.search(r"@sha256:[0-9a-f]{64}$", one)] == []


def test_nothing_is_left_to_be_replaced() -> None:
    for name in OVERLAYS:
        assert not re.search(r"'[^']*\b(CLASS|CLUSTER|AMI|NODE_ROLE)\b[^']*'", str(overlay(name)))
        references = re.findall(r"'reference': '([^']*)'", str(overlay(name)))
        assert "jamak-weights" not in references


# Card classes


def test_there_is_a_folder_for_each_class() -> None:
    assert {path.name for path in (KUBERNETES / "classes").iterdir()} == CLASSES.keys()


def test_production_serves_every_queue() -> None:
    served = {queue for name in captioners("eks") for queue in served_queues(CLASSES[name])}
    assert served == set(CAPTION_QUEUES)
    assert captioners("eks").keys() == set(GPU_CLASSES)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_class_has_one_name_everywhere(name: str) -> None:
    for card, template in captioners(name).items():
        assert setting(name, template, "JAMAK_CARD") == card
        selector = template["spec"].get("nodeSelector", {})
        assert selector == ({} if card == "cpu" else {LABEL: card})
        gpus = container(template)["resources"]["limits"].get("nvidia.com/gpu")
        assert gpus == (None if card == "cpu" else "1")


def test_a_class_is_scaled_by_its_own_figure() -> None:
    scaled = of_kind(overlay("eks"), "ScaledObject")
    assert len(scaled) == len(GPU_CLASSES)
    service = named(overlay("eks"), "Service", "scaler")
    place = f"http://scaler.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"
    for one in scaled:
        card = one["metadata"]["labels"][LABEL]
        target = named(overlay("eks"), "Deployment", one["spec"]["scaleTargetRef"]["name"])
        assert target["spec"]["template"]["metadata"]["labels"][LABEL] == card
        asked, scraped = (trigger["metadata"] for trigger in one["spec"]["triggers"])
        assert (asked["url"], asked["valueLocation"]) == (f"{place}{PATH}{card}", "wanted")
        assert scraped["query"] == f'max(jamak_scale_wanted{{class="{card}"}})'
        # What is served is replicas: at any other target KEDA would ask for more or fewer.
        assert asked["targetValue"] == scraped["threshold"] == "1"
        assert {trigger["metricType"] for trigger in one["spec"]["triggers"]} == {"AverageValue"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_scaler_scales_the_classes_that_there_are(name: str) -> None:
    scaler = named(overlay(name), "Deployment", "scaler")["spec"]["template"]
    assert set(setting(name, scaler, "JAMAK_SCALE_CLASSES")) == captioners(name).keys()
    for template in captioners(name).values():
        (pod,) = (one for one in container(template)["env"] if one["name"] == "JAMAK_POD")
        assert pod["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_nodes_of_a_class_are_those_that_its_pods_ask_for() -> None:
    pools = {
        pool["spec"]["template"]["metadata"]["labels"][LABEL]: pool["spec"]
        for pool in of_kind(overlay("eks"), "NodePool")
    }
    wanted = {
        template["spec"]["nodeSelector"][LABEL]: template["spec"]["tolerations"]
        for _, template in pods(overlay("eks"))
        if "nodeSelector" in template["spec"]
    }
    assert pools.keys() == wanted.keys()
    most = {
        one["metadata"].get("labels", {}).get(LABEL, "train"): one["spec"]["maxReplicaCount"]
        for one in of_kind(overlay("eks"), "ScaledObject", "ScaledJob")
    }
    kinds = {one["metadata"]["name"] for one in of_kind(overlay("eks"), "EC2NodeClass")}
    for card, pool in pools.items():
        tolerated = {(one["key"], one["effect"]) for one in wanted[card]}
        nodes = pool["template"]["spec"]
        assert {(one["key"], one["effect"]) for one in nodes["taints"]} == tolerated
        assert int(pool["limits"]["nvidia.com/gpu"]) >= most[card]
        assert nodes["nodeClassRef"]["name"] in kinds


# Beginning and ending


def test_a_pod_has_time_to_end() -> None:
    for name, owner, template in every_pod():
        grace_s = template["spec"]["terminationGracePeriodSeconds"]
        before_s = container(template).get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        if container(template)["command"][0] == "celery":
            ends_s = setting(name, template, "JAMAK_DRAIN_S") + LONGEST_FINISH_S + GOODBYE_S
        else:
            ends_s = GRACE_S
        assert before_s.get("seconds", 0) + ends_s + 10 <= grace_s, owner


def test_a_captioner_has_ended_before_its_spot_node_has() -> None:
    pools = {one["metadata"]["name"]: one for one in of_kind(overlay("eks"), "NodePool")}
    for card, template in captioners("eks").items():
        nodes = pools[f"jamak-{card}"]["spec"]["template"]["spec"]
        kinds = next(one for one in nodes["requirements"] if one["key"].endswith("capacity-type"))
        assert kinds["values"][0] == "spot"
        grace_s = template["spec"]["terminationGracePeriodSeconds"]
        assert HEARD_S + grace_s <= NOTICE_S
        # A pod that may take longer than its node is ended as soon as the node is drained.
        assert seconds(nodes["terminationGracePeriod"]) > grace_s


def test_a_training_is_not_ended_for_a_better_price() -> None:
    job = named(overlay("eks"), "ScaledJob", "trainer")
    template = job["spec"]["jobTargetRef"]["template"]
    pool = named(overlay("eks"), "NodePool", "jamak-train")["spec"]["template"]["spec"]
    assert template["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]} in pool[
        "requirements"
    ]
    assert pool["expireAfter"] == "Never" and "terminationGracePeriod" not in pool
    assert "activeDeadlineSeconds" not in job["spec"]["jobTargetRef"]
    assert job["spec"]["rollout"]["strategy"] == "gradual"
    assert job["spec"]["scalingStrategy"]["strategy"] == "accurate"
    assert setting("eks", template, "JAMAK_TRAIN_ONCE_S") > 0
    # "accurate" takes the number for those that nobody has taken yet.
    assert [one["metadata"]["valueLocation"] for one in job["spec"]["triggers"]] == ["waiting"]
    assert Answer(TRAIN, Wanted(3, "", ()), 1, jobs=(2, 1)).dump()["waiting"] == 2


def rules(behavior: dict[str, Any]) -> Rules:
    policies = (
        Policy(one["type"], one["value"], one["periodSeconds"]) for one in behavior["policies"]
    )
    return Rules(tuple(policies), behavior["stabilizationWindowSeconds"])


def test_scaling_is_quick_upwards_and_downwards_as_it_was_simulated() -> None:
    for one in of_kind(overlay("eks"), "ScaledObject"):
        spec = one["spec"]
        assert spec["minReplicaCount"] == 0
        assert spec["cooldownPeriod"] >= max(900, COLD_START_S)
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        up, down = behavior["scaleUp"], behavior["scaleDown"]
        # All at once: 15 s for KEDA, 15 s for the HPA.
        assert up["stabilizationWindowSeconds"] == 0 and spec["pollingInterval"] <= 15
        assert max(policy["value"] for policy in up["policies"]) >= spec["maxReplicaCount"]
        # docs/autoscale.md has what this and other rules come to.
        assert rules(down) == Jamak.DOWN
        assert (spec["pollingInterval"], spec["cooldownPeriod"]) == (POLLING_S, COOLDOWN_S)
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        assert spec["fallback"]["replicas"] >= 1
    for template in captioners("eks").values():
        assert setting("eks", template, "JAMAK_DRAIN_S") == DRAIN_S
    for pool in of_kind(overlay("eks"), "NodePool"):
        stays_s = seconds(pool["spec"]["disruption"]["consolidateAfter"])
        assert stays_s == (600 if "train" in pool["metadata"]["name"] else NODE_STAYS_S)


def test_a_pod_is_asked_whether_it_lives_and_whether_it_works() -> None:
    for name, _, template in every_pod():
        only = container(template)
        port = next(one["containerPort"] for one in only["ports"] if one["name"] == "metrics")
        assert setting(name, template, "JAMAK_METRICS_PORT") == port
        assert setting(name, template, "JAMAK_METRICS_HOST") == "0.0.0.0"
        asked = {
            kind: only[f"{kind}Probe"]["httpGet"]["path"]
            for kind in ("startup", "liveness", "readiness")
        }
        assert asked == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


# Who may do what


def test_a_pod_is_restricted() -> None:
    """Pod Security Standards, "restricted"; and more than these: its image is not written to."""
    for name, _, template in every_pod():
        namespace = named(overlay(name), "Namespace", "jamak")["metadata"]["labels"]
        assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
        spec, only = template["spec"], container(template)
        assert (
            spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 9999
        )
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in only["ports"])
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        # "image": since Kubernetes 1.33, whatever the page of the standards says.
        assert kinds <= {"emptyDir", "image"}
        assert spec["enableServiceLinks"] is False
        assert only["resources"]["limits"]["memory"] == only["resources"]["requests"]["memory"]


def test_what_a_pod_writes_lies_in_a_volume() -> None:
    for name, _, template in every_pod():
        given = environment(overlay(name), template)
        mounts = {one["mountPath"] for one in container(template)["volumeMounts"]}
        assert "/tmp" in mounts
        if container(template)["command"][0] == "celery":
            assert {given["JAMAK_SCRATCH_DIR"], given["JAMAK_MODEL_PATH"]} <= mounts


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_the_scaler_talks_to_kubernetes(name: str) -> None:
    accounts = of_kind(overlay(name), "ServiceAccount")
    used = {template["spec"]["serviceAccountName"] for _, template in pods(overlay(name))}
    assert {one["metadata"]["name"] for one in accounts} == used
    able = [one["metadata"]["name"] for one in accounts if one["automountServiceAccountToken"]]
    (binding,) = of_kind(overlay(name), "RoleBinding")
    (role,) = of_kind(overlay(name), "Role")
    assert able == ["scaler"] == [one["name"] for one in binding["subjects"]]
    assert not of_kind(overlay(name), "ClusterRole", "ClusterRoleBinding")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_find_what_they_are_for(name: str) -> None:
    labels = {owner: template["metadata"]["labels"] for owner, template in pods(overlay(name))}

    def found(selector: dict[str, str]) -> list[str]:
        return [owner for owner, has in labels.items() if selector.items() <= has.items()]

    budgets = of_kind(overlay(name), "PodDisruptionBudget")
    kept = [found(one["spec"]["selector"]["matchLabels"]) for one in budgets]
    # A pod that starts, drains or waits for S3 is not ready, and counts against its budget: one of
    # captioners would keep those on a machine that goes away from hearing of it, until it is gone.
    workers = {owner for owner, has in labels.items() if LABEL in has or owner == "trainer"}
    assert sorted(kept) == sorted([owner] for owner in labels.keys() - workers)
    for one in of_kind(overlay(name), "Deployment"):
        own = one["spec"]["selector"]["matchLabels"]
        assert found(own) == [one["metadata"]["name"]]
        for spread in one["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"] == own
    assert found(named(overlay(name), "Service", "scaler")["spec"]["selector"]) == ["scaler"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_is_let_through_but_what_is_named(name: str) -> None:
    policies = {
        one["metadata"]["name"]: one["spec"] for one in of_kind(overlay(name), "NetworkPolicy")
    }
    assert policies.pop("nothing") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    out = [rule for one in policies.values() for rule in one.get("egress", [])]
    assert all(rule.get("to") and rule.get("ports") for rule in out)
    ports = {(port["protocol"], port["port"]) for rule in out for port in rule["ports"]}
    theirs = {("TCP", 80)} if name == "eks" else {("TCP", n) for n in (9000, 6443, 8443)}
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 6379), ("TCP", 443)} | theirs
    # A node's own credentials are to be had there.
    anywhere = [
        block
        for rule in out
        for one in rule["to"]
        if "0.0.0.0/0" in str(block := one.get("ipBlock"))
    ]
    assert anywhere and all(one["except"] == ["169.254.0.0/16"] for one in anywhere)
    within = [rule for one in policies.values() for rule in one.get("ingress", [])]
    assert all(rule["from"] for rule in within)


def test_only_the_scaler_reaches_an_api_server_on_a_port_of_its_own() -> None:
    """Of the cluster on one machine: EKS's listens where S3 does."""
    who = {
        port["port"]: one["spec"]["podSelector"]
        for one in of_kind(overlay("dev"), "NetworkPolicy")
        for rule in one["spec"].get("egress", [])
        for port in rule["ports"]
    }
    scaler = named(overlay("dev"), "Deployment", "scaler")["spec"]["selector"]
    assert who[6443] == who[8443] == scaler
    assert who[443] == {}


def with_more(folder: Path, *lines: str) -> tuple[Manifest, ...]:
    """The overlay of production, and what somebody adds to it."""
    # Kustomize takes no absolute paths.
    resources = os.path.relpath(KUBERNETES / "overlays/eks", folder)
    (folder / "kustomization.yaml").write_text("\n".join([f"resources: [{resources}]", *lines]))
    return tuple(render(folder))


def test_terraform_knows_the_namespace_that_the_manifests_have() -> None:
    """KEDA and Prometheus ask in it by name (scaler.jamak.svc), so nobody is asked for another."""
    terraform = ROOT / "infra/terraform"
    (told,) = re.findall(r'^  namespace += "(.*)"$', (terraform / "main.tf").read_text(), re.M)
    assert 'variable "namespace"' not in (terraform / "variables.tf").read_text()
    assert {named(overlay(name), "Namespace", told)["kind"] for name in OVERLAYS} == {"Namespace"}


def test_with_irsa_each_account_has_a_role(tmp_path: Path) -> None:
    component = os.path.relpath(KUBERNETES / "overlays/eks/irsa", tmp_path)
    accounts = of_kind(with_more(tmp_path, f"components: [{component}]"), "ServiceAccount")
    roles = {
        one["metadata"]["name"]: one["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        for one in accounts
    }
    assert len(roles) == 7
    assert all(role.endswith(f":role/jamak-{name}") for name, role in roles.items())


def test_the_page_says_how_to_do_without_prometheus(tmp_path: Path) -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    (patch,) = re.findall(r"```yaml\n(patches:\n.*?)```", page, re.DOTALL)
    for one in of_kind(with_more(tmp_path, patch), "ScaledObject"):
        assert [trigger["type"] for trigger in one["spec"]["triggers"]] == ["metrics-api"]


def seconds(duration: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([smh])", duration))
