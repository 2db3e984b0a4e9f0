"""What infra/terraform lets each role do: the real code does it, and nobody may do anything else.

The policies are in force at moto's server, and each role has credentials of its own.
"""

import fnmatch
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.iam import ACCOUNT, EVERYTHING, REGION, Account, Decision
from tests.rendered import DATA, DEAD, EVENTS, EXPORTS, OUTPUT, VIDEOS, render, rights
from tests.rights import ROLES, Names, is_refused, rows
from tests.roles import Staffed, Story
from tests.world import World
from workers.video.pool import DecoderPool

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    made = Account(tmp_path_factory.mktemp("aws"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def staffed(
    account: Account, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Staffed]:
    world = World(VIDEOS, OUTPUT, redis_url, account.admin, f"test-{uuid.uuid4().hex[:8]}")
    rendered = render(tmp_path_factory.mktemp("rendered"), output_prefix=world.prefix)
    s3, sqs = account.client("s3"), account.client("sqs")
    for bucket in (VIDEOS, OUTPUT, DATA, EXPORTS):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=VIDEOS, VersioningConfiguration={"Status": "Enabled"})
    sqs.create_queue(QueueName=DEAD)
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}"
    redrive = json.dumps({"deadLetterTargetArn": f"{arn}:{DEAD}", "maxReceiveCount": 5})
    made = sqs.create_queue(QueueName=EVENTS, Attributes={"RedrivePolicy": redrive})
    s3.put_bucket_notification_configuration(
        Bucket=VIDEOS,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": f"{arn}:{EVENTS}",
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
                }
            ]
        },
    )
    for role, policy in {**rendered["policies"], "admin": EVERYTHING}.items():
        account.make_role(role, policy)
        account.assume(role, role)
    account.enforce()
    urls = made["QueueUrl"], f"{made['QueueUrl']}-dead"
    names = Names(VIDEOS, OUTPUT, world.prefix, DATA, EXPORTS, *urls, topmost="admin")
    yield Staffed(account, rendered, world, names)
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{world.redis_prefix}*"):
            client.delete(key)


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    pool = DecoderPool(1)
    yield pool
    pool.close()


UNSEEN = {
    # An upload that fails half-way.
    ("operator", "s3:AbortMultipartUpload", f"arn:aws:s3:::{VIDEOS}/in/*"),
    ("operator", "s3:AbortMultipartUpload", f"arn:aws:s3:::{EXPORTS}/*"),
    # With it S3 says of what is not there that it is not there; moto says so anyway.
    ("operator", "s3:ListBucket", f"arn:aws:s3:::{DATA}"),
    ("operator", "s3:ListBucket", f"arn:aws:s3:::{EXPORTS}"),
    ("retrainer", "s3:ListBucket", f"arn:aws:s3:::{VIDEOS}"),
}
"""What is needed, and not asked for in what follows."""


def test_what_the_code_does_is_allowed_and_nothing_else(
    staffed: Staffed, decoders: DecoderPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(staffed, decoders, tmp_path, monkeypatch)
    before = len(staffed.account.decisions())
    story.operator_uploads()
    story.listener_listens()
    story.trainer_trains()
    story.operator_chooses()
    story.captioner_captions()
    story.operator_hears()
    story.watcher_watches()
    story.operator_writes_rules()  # while an adapter was on trial nothing would be due
    story.retrainer_retrains()
    story.operator_begins_a_backlog()
    story.scaler_counts()
    story.feeder_feeds()
    story.operator_looks_after_it()
    decided = staffed.account.decisions()[before:]
    assert [one for one in decided if not one.allowed] == []
    for role in ROLES:
        done = [one for one in decided if one.role == role]
        idle = {
            (action, resource)
            for action, resource in rights(staffed.rendered, role)
            if not any(is_of(one, action, resource) for one in done)
            and (role, action, resource) not in UNSEEN
        }
        assert idle == set(), f"nobody needs it: {role}"


def is_of(one: Decision, action: str, resource: str) -> bool:
    return one.action == action and fnmatch.fnmatchcase(one.resource, resource)


def test_nobody_may_do_what_is_not_his(staffed: Staffed) -> None:
    found = [
        (action, place, role, "refused" if is_refused(*asked, action, place) else "let in")
        for action, place, allowed in rows()
        for role in allowed
        for asked in [(staffed.account, role, staffed.names)]
    ]
    expected = [
        (action, place, role, "let in" if may else "refused")
        for action, place, allowed in rows()
        for role, may in allowed.items()
    ]
    assert found == expected
