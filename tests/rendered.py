"""What infra/terraform says that each role may do, rendered by the real terraform.

Its modules of policies, of Redis users and for Kustomize need no plugin: this takes a second.
"""

import json
from pathlib import Path
from typing import Any

from tests.iam import ACCOUNT, REGION
from tests.terraform import Terraform

VIDEOS, OUTPUT, DATA, EXPORTS = "jamak-films", "jamak-captions", "jamak-sets", "jamak-exports"
"""Buckets."""
EVENTS, DEAD = "jamak-events", "jamak-events-dead"
"""Queues."""


def render(folder: Path, output_prefix: str, **more: Any) -> dict[str, Any]:
    """What the modules of policies and of Redis users say.

    Args:
        more: variables of the module of policies.
    """
    policies: dict[str, Any] = {
        "region": REGION,
        "account_id": ACCOUNT,
        "videos": {"bucket": VIDEOS, "prefix": "in/"},
        "output": {"bucket": OUTPUT, "prefix": output_prefix},
        "events_queue": EVENTS,
        "dead_letters": DEAD,
        "training_data": [f"s3://{DATA}/"],
        "operator_writes": [f"s3://{EXPORTS}/"],
        "operators": [f"arn:aws:iam::{ACCOUNT}:role/people"],
        "pods": {"how": "pod-identity", "cluster": "films", "namespace": "jamak"},
        **more,
    }
    return outputs_of(
        folder,
        {"policies": policies, "acl": {}},
        **{
            name: f"${{module.policies.{name}}}"
            for name in ("policies", "trust", "redis_users", "service_accounts")
        },
        users="${module.acl.users}",
    )


def outputs_of(folder: Path, modules: dict[str, dict[str, Any]], **outputs: str) -> dict[str, Any]:
    """Args:
    modules: name -> arguments. None of them needs a plugin.
    outputs: name -> expression.
    """
    terraform = Terraform.copied(folder)
    root = {
        "module": {
            name: {"source": f"../terraform/modules/{name}", **arguments}
            for name, arguments in modules.items()
        },
        "output": {name: {"value": value} for name, value in outputs.items()},
    }
    terraform.folder = folder / "infra/rendered"
    terraform.folder.mkdir()
    (terraform.folder / "main.tf.json").write_text(json.dumps(root))
    terraform("init", "-backend=false")
    terraform("apply", "-auto-approve")
    return terraform.outputs()


Statement = dict[str, Any]


def statements(rendered: dict[str, Any], role: str) -> list[Statement]:
    found: list[Statement] = json.loads(rendered["policies"][role])["Statement"]
    return found


def rights(rendered: dict[str, Any], role: str) -> set[tuple[str, str]]:
    """Action and resource."""
    return {
        (action, resource)
        for statement in statements(rendered, role)
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
