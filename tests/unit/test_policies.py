"""What infra/terraform lets each role do is no more than what it is for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.local.procfile import ROOT
from shared.bucket.keys import FOLDERS
from tests.iam import ACCOUNT
from tests.rendered import DATA, DEAD, EVENTS, EXPORTS, OUTPUT, VIDEOS, render, rights, statements
from tests.rights import ROLES


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return render(tmp_path_factory.mktemp("terraform"), output_prefix="out/")


def test_no_right_is_wider_than_what_it_is_for(rendered: dict[str, Any]) -> None:
    for role in ROLES:
        for statement in statements(rendered, role):
            assert set(statement) == {"Sid", "Effect", "Action", "Resource"}
            assert statement["Effect"] == "Allow"
        for action, resource in rights(rendered, role):
            assert "*" not in action
            assert resource.startswith("arn:aws:")
            *_, name = resource.split(":")
            place = name.partition("/")[2].removesuffix("*")
            if action == "s3:ListBucket":
                assert name in (VIDEOS, OUTPUT, DATA, EXPORTS)
            elif name.startswith(f"{OUTPUT}/"):
                folder = place.removeprefix("out/").partition("/")[0]
                assert place.startswith("out/") and folder in FOLDERS
            elif name.startswith(f"{VIDEOS}/"):
                assert place == "in/"
            else:
                assert name in (EVENTS, DEAD, f"{DATA}/*", f"{EXPORTS}/*")


@pytest.mark.parametrize(
    ("arn", "action"),
    [
        (f"arn:aws:sns:eu-west-1:{ACCOUNT}:ended", "sns:Publish"),
        (f"arn:aws:events:eu-west-1:{ACCOUNT}:event-bus/ended", "events:PutEvents"),
    ],
)
def test_the_feeder_alone_tells_results(
    arn: str, action: str, tmp_path: Path, rendered: dict[str, Any]
) -> None:
    told = render(tmp_path, output_prefix="out/", results_arn=arn)
    for role in ROLES:
        more = rights(told, role) - rights(rendered, role)
        assert more == ({(action, arn)} if role == "feeder" else set())


def test_each_folder_of_the_output_has_its_writers(rendered: dict[str, Any]) -> None:
    """A folder that is new has to say here who may write there."""

    def who(action: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for role in ROLES:
            for allowed, resource in rights(rendered, role):
                place = resource.partition(f"{OUTPUT}/out/")[2]
                if allowed == action and place:
                    found.setdefault(place.removesuffix("/*"), set()).add(role)
        return found

    everybody_who_writes = set(ROLES) - {"listener", "scaler"}
    writers = who("s3:PutObject")
    assert writers == {
        "records": {"captioner"},
        "adapters/*/trials/*/*-*.json": {"captioner"},
        "failures": {"captioner"},
        "parts": {"captioner"},
        "captions": {"captioner", "operator"},
        "adapters": {"trainer"},
        "adapters/*/active.json": {"operator", "watcher"},
        "adapters/*/judged.json": {"operator"},
        "adapters/*/judged.md": {"operator"},
        "adapters/*/judged.html": {"operator"},
        "adapters/policy.yaml": {"operator"},
        "adapters/*/trials/*/state.json": {"watcher"},
        "adapters/watcher.json": {"watcher"},
        "training": {"trainer", "operator"},
        "asked": {"operator"},
        "backlogs": {"operator"},
        "backlogs/*/cursor.json": {"feeder"},
        "costs": {"captioner", "trainer"},
        "feedback": {"operator"},
        "training/*/asked.json": {"retrainer"},
        "retraining": {"operator"},
        "retraining/*.json": {"retrainer"},
        "retraining/sets": {"retrainer"},
        "retraining/used": {"retrainer"},
        "probes": everybody_who_writes,
    }
    assert {place.partition("/")[0] for place in writers} == set(FOLDERS)
    deleted = who("s3:DeleteObject")
    operators = ("failures", "asked", "adapters", "backlogs")
    assert deleted == {
        **{place: {"operator"} for place in operators},
        "training/*/checkpoints": {"trainer", "operator"},
    }


def test_the_page_says_who_may_do_what(rendered: dict[str, Any]) -> None:
    page = (ROOT / "docs/aws.md").read_text()
    told = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].strip("`") in ROLES:
            folders = [sorted(re.findall(r"`(.+?)`", cell)) for cell in cells[1:4]]
            told[cells[0].strip("`")] = folders
    held = {}
    for role in ROLES:
        in_output = [
            (action, resource.partition(f"{OUTPUT}/out/")[2].removesuffix("*"))
            for action, resource in rights(rendered, role)
        ]
        held[role] = [
            sorted(place for action, place in in_output if place and action == wanted)
            for wanted in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
        ]
    assert told == held


def test_who_may_take_a_role_are_the_pods_of_one_service_account(rendered: dict[str, Any]) -> None:
    accounts = rendered["service_accounts"]
    assert set(accounts) == set(ROLES) - {"operator"}
    for role, account in accounts.items():
        (statement,) = json.loads(rendered["trust"][role])["Statement"]
        assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
        assert statement["Condition"] == {
            "StringEquals": {
                "aws:RequestTag/eks-cluster-name": "films",
                "aws:RequestTag/kubernetes-namespace": "jamak",
                "aws:RequestTag/kubernetes-service-account": account,
            }
        }
    (people,) = json.loads(rendered["trust"]["operator"])["Statement"]
    assert people["Principal"] == {"AWS": [f"arn:aws:iam::{ACCOUNT}:role/people"]}


def test_users_of_redis_are_those_of_the_acl_file(rendered: dict[str, Any]) -> None:
    lines = (ROOT / "infra/redis/users.acl").read_text().splitlines()
    expected = {}
    for line in lines:
        _, name, *rules = line.split()
        if name != "default":
            kept = [rule for rule in rules if not rule.startswith(">")]
            expected[name.removeprefix("jamak-")] = " ".join(kept)
    found = {who: user["access_string"] for who, user in rendered["users"].items()}
    assert found == expected
    assert set(rendered["redis_users"].values()) == set(expected)
    assert set(ROLES) - set(rendered["redis_users"]) == {"watcher"}
