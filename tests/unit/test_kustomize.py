"""What infra/terraform hands to infra/kubernetes is what the pods there read."""

import json
from pathlib import Path

from tests.manifests import KUBERNETES, container, environment, named, of_kind, pods, render
from tests.rendered import outputs_of

SETTINGS = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "JAMAK_OUTPUT": "s3://captions/",
    "JAMAK_SOURCES": "s3://films/in/",
    "JAMAK_EVENTS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/jamak-events",
    "JAMAK_REDIS_CREDENTIALS": "elasticache/jamak",
    "JAMAK_SLO_S": "600",
}
USERS = ("producer", "worker", "trainer", "retrainer", "autoscaler")


def test_the_pods_read_what_terraform_made(tmp_path: Path) -> None:
    urls = {user: f"rediss://jamak-{user}@master.example.com:6379/0" for user in USERS}
    some = ("listener", "captioner", "watcher", "retrainer")
    arns = {account: f"arn:aws:iam::1:role/jamak-{account}" for account in some}
    given = {
        "namespace": "jamak",
        "settings": SETTINGS,
        "redis_urls": urls,
        "role_arns": arns,
    }
    told = outputs_of(tmp_path, {"kustomize": given}, component="${module.kustomize.component}")
    component, overlay = tmp_path / "aws", tmp_path / "mine"
    for folder, text in (
        (component, told["component"]),
        (overlay, json.dumps(kustomization_over(tmp_path))),
    ):
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(text)
    rendered = tuple(render(overlay))
    secrets = {one["metadata"]["name"] for one in of_kind(rendered, "Secret")}
    assert secrets == {f"jamak-redis-{user}" for user in USERS}
    without_redis = {"watcher"}
    for owner, template in pods(rendered):
        variables = environment(rendered, template)
        assert {name: variables[name] for name in SETTINGS} == SETTINGS
        urls_of_it = [
            one["valueFrom"]["secretKeyRef"]
            for one in container(template).get("env", [])
            if one["name"] == "JAMAK_REDIS_URL"
        ]
        if owner in without_redis:
            assert urls_of_it == []
            continue
        (url,) = urls_of_it
        assert url["name"] in secrets
        assert url["key"] == "url"
    for account, arn in arns.items():
        found = named(rendered, "ServiceAccount", account)["metadata"]["annotations"]
        assert found == {"eks.amazonaws.com/role-arn": arn}


def kustomization_over(folder: Path) -> dict[str, object]:
    """An overlay of mine over that of EKS, which has to lie below it."""
    linked = folder / "kubernetes"
    linked.symlink_to(KUBERNETES)
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../kubernetes/overlays/eks"],
        "components": ["../aws"],
    }
