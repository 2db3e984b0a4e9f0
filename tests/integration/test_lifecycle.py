"""The rules that end what grows in the output: S3 takes them, and they end nothing needed."""

import json

import boto3
import pytest

from infra.local.procfile import ROOT
from shared.bucket.keys import FOLDERS
from tests.world import World

pytestmark = pytest.mark.integration

RULES = json.loads((ROOT / "infra/s3/lifecycle.json").read_text())
KEPT = {"records", "captions", "adapters", "feedback", "retraining", "probes"}
"""The truth and what is shown of it; what people said, and what was made of it;
what `jamak adapters prune` ends; one small object."""


def test_s3_takes_the_rules(world: World) -> None:
    s3 = boto3.client("s3")
    s3.put_bucket_lifecycle_configuration(Bucket=world.output, LifecycleConfiguration=RULES)
    taken = s3.get_bucket_lifecycle_configuration(Bucket=world.output)["Rules"]
    s3.delete_bucket_lifecycle(Bucket=world.output)
    assert {rule["ID"] for rule in taken} == {rule["ID"] for rule in RULES["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in taken)


def test_every_folder_has_an_end_or_is_kept_on_purpose() -> None:
    ended = {
        rule["Filter"]["Prefix"].removesuffix("/")
        for rule in RULES["Rules"]
        if "Days" in rule.get("Expiration", {})
    }
    assert ended == set(FOLDERS) - KEPT


def test_what_each_rule_ends_is_told() -> None:
    page = (ROOT / "docs/delivery.md").read_text().partition("## What grows")[2]
    for rule in RULES["Rules"]:
        days = rule.get("Expiration", {}).get("Days")
        if days:
            assert f"| `{rule['Filter']['Prefix']}` | {days} days |" in page
