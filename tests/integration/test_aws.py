"""What infra/terraform makes, made at moto's server, with every process in its own role.

Its short siblings are test_rights.py (the same rights, in force for the same code) and
test_terraform.py. Redis has the users of infra/redis/users.acl.
"""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis
from botocore.exceptions import ClientError

from infra.local.metrics import is_ready, read_metrics
from infra.local.ports import free_port
from infra.local.processes import stop
from infra.local.procfile import ROOT, read_procfile
from infra.local.redis import start_redis
from infra.local.stack import DEMO_MODEL
from shared.bucket.videos import video_of
from shared.messages import Video
from tests.iam import ACCOUNT, EVERYTHING, REGION, Account, acting_as
from tests.redis_users import USERS, add_user
from tests.rights import ROLES, Names, is_refused, rows
from tests.terraform import Terraform, plugins
from tests.training import make_videos, sft_rows
from tests.verbs import jamak
from tests.videos import write_clip
from tests.waiting import wait_until
from tests.warm import WarmProcess
from tests.world import World

pytestmark = [pytest.mark.integration, pytest.mark.model, pytest.mark.soak]

VIDEOS, OUTPUT, DATA, EXPORTS = "jamak-films", "jamak-captions", "jamak-sets", "jamak-exports"
PROCESSES = ("listener", "feeder", "scaler", "captioner", "trainer", "watcher", "retrainer")

VARIABLES = {
    "videos_bucket": VIDEOS,
    "videos_prefix": "in/",
    "output_bucket": OUTPUT,
    "output_prefix": "jamak/out/",
    "broker": "none",  # moto has no groups of users
    "oidc_provider_arn": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/id/0",
    "operators": [f"arn:aws:iam::{ACCOUNT}:root"],
    "training_data": [f"s3://{DATA}/"],
    "operator_writes": [f"s3://{EXPORTS}/"],
}
LOCALLY = {
    ".": {
        "provider": {
            "aws": {
                "region": REGION,
                "access_key": "admin",
                "secret_key": "admin",
                "s3_use_path_style": True,
                "skip_credentials_validation": True,
                "skip_metadata_api_check": True,
            }
        }
    },
    # moto does not know what this sets, and Terraform would wait until it does.
    "modules/uploads": {
        "resource": {"aws_sqs_queue_redrive_allow_policy": {"dead_letters": {"count": 0}}}
    },
}
"""Over the configuration, by folder."""


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    made = Account(tmp_path / "aws")
    yield made
    made.stop()


@pytest.fixture
def redis_with_users(tmp_path: Path) -> Iterator[str]:
    """The address, for `format` with the last part of a user's name."""
    server = start_redis(tmp_path / "redis")
    with redis.Redis.from_url(server.url) as admin:
        for name, rules in USERS.items():
            if name != "default":
                add_user(admin, name, rules)
    yield f"redis://jamak-{{0}}:change-me-{{0}}@127.0.0.1:{server.port}/0"
    server.stop()


class Applied:
    def __init__(self, folder: Path, account: Account) -> None:
        self._terraform, self._account = Terraform.copied(folder), account
        for place, override in LOCALLY.items():
            target = self._terraform.folder / place / "locally_override.tf.json"
            target.write_text(json.dumps(override))
        (self._terraform.folder / "terraform.tfvars.json").write_text(json.dumps(VARIABLES))
        self._terraform("init", f"-plugin-dir={plugins()}")
        self._terraform("validate")
        self.apply()
        self.outputs = self._terraform.outputs()

    def apply(self, *options: str) -> None:
        """By the administrator."""
        self._account.trust_everybody()
        env = {"AWS_ENDPOINT_URL": self._account.endpoint}
        self._terraform("apply", "-auto-approve", *options, env=env)


def open_plain_http(account: Account) -> None:
    """moto has no TLS: so far each bucket refuses everybody, as it must. After this it does not."""
    s3 = account.client("s3")
    for bucket in (VIDEOS, OUTPUT):
        with pytest.raises(ClientError, match="403"):
            s3.head_object(Bucket=bucket, Key="in/a.mp4")
        s3.delete_bucket_policy(Bucket=bucket)


def test_a_video_gets_its_caption_and_everybody_does_only_his_part(
    account: Account, redis_with_users: str, tmp_path: Path
) -> None:
    terraform = Applied(tmp_path, account)
    made = terraform.outputs
    open_plain_http(account)
    for bucket in (DATA, EXPORTS):
        account.client("s3").create_bucket(Bucket=bucket)
    fill_training_set(account, tmp_path)
    for role in ROLES:
        account.assume(f"jamak-{role}", role)
    account.make_role("admin", EVERYTHING)
    account.enforce()

    users = made["redis_users"]
    worlds = {
        role: World(
            VIDEOS,
            OUTPUT,
            redis_with_users.format(users.get(role, "nobody")),
            {**account.roles[role], **made["env"][role]},
            "jamak",
        )
        for role in ROLES
    }
    processes = {role: start(role, worlds[role], tmp_path) for role in PROCESSES}
    try:
        for process, port in processes.values():
            process.wait_until(partial(is_ready, port), 90)
        captioned(worlds["operator"], tmp_path)
        trained(worlds["operator"], processes["captioner"][1])
        terraform.apply("-target=module.uploads", "-var=events=eventbridge")
        account.enforce()
        uploaded(worlds["operator"], write_clip(tmp_path / "other.mp4", 13))
    finally:
        stop([process for process, _ in processes.values()], patience_s=30)
    refused = [one for one in account.decisions() if not one.allowed]
    assert refused == []
    asked = {one.role.removeprefix("jamak-") for one in account.decisions()}
    assert asked == set(ROLES)
    names = Names(
        VIDEOS,
        OUTPUT,
        "jamak/out/",
        DATA,
        EXPORTS,
        made["env"]["listener"]["JAMAK_EVENTS_QUEUE_URL"],
        made["dead_letters_url"],
        topmost="admin",
    )
    found, expected = [], []
    for action, place, allowed in rows():
        for role, may in allowed.items():
            found.append((action, place, role, not is_refused(account, role, names, action, place)))
            expected.append((action, place, role, may))
    assert found == expected


def start(role: str, world: World, folder: Path) -> tuple[WarmProcess, int]:
    port = free_port()
    process = WarmProcess(
        role,
        shlex.split(read_procfile()[role].removeprefix("exec ")),
        log=folder / f"{role}.log",
        env={
            **os.environ,
            **world.env,
            "JAMAK_MODEL_PATH": str(DEMO_MODEL),
            "JAMAK_METRICS_PORT": str(port),
            "JAMAK_SCRATCH_DIR": str(folder / "scratch"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        cwd=ROOT,
    )
    return process, port


def captioned(operator: World, folder: Path) -> None:
    """By its event, and again by a backlog."""
    video = uploaded(operator, write_clip(folder / "film.mp4", 12))
    with acting_as(operator.aws):
        jamak(operator, "backlog", "start", "again", f"s3://{VIDEOS}/in/", "--generation", "1")
        assert operator.caption(operator.job(video, generation=1)).text
        assert "WEBVTT" in jamak(operator, "get", video.uri, "--format", "vtt").stdout


def uploaded(operator: World, film: Path) -> Video:
    """And captioned."""
    with acting_as(operator.aws):
        jamak(operator, "upload", str(film), f"s3://{VIDEOS}/in/")
        video = video_of(operator.store.head(VIDEOS, f"in/{film.name}"))
        assert operator.caption(operator.job(video)).text
    return video


def fill_training_set(account: Account, folder: Path) -> None:
    (folder / "films").mkdir()
    films = make_videos(folder / "films")
    s3 = account.client("s3")
    names = {name: f"{number}.mp4" for number, name in enumerate(films)}
    rows = sft_rows({name: Path(names[name]) for name in films})
    s3.put_object(Bucket=DATA, Key="manifest.jsonl", Body="\n".join(map(json.dumps, rows)).encode())
    for name, path in films.items():
        s3.upload_file(str(path), DATA, names[name])


def trained(operator: World, port: int) -> None:
    """By the trainer; and the captioner uses it when the operator has chosen it.

    Args:
        port: of the captioner's metrics.
    """
    data = f"s3://{DATA}/manifest.jsonl"
    few = ("--steps", "2", "--batch-size", "2", "--frames", "2", "--rank", "4")
    job = json.loads(jamak(operator, "train", "sft", "--data", data, *few, "--json").stdout)

    def ended() -> bool:
        told = jamak(operator, "train", "status", job["job_id"], "--json").stdout
        return json.loads(told)["outcome"] is not None

    wait_until(ended, 60, "the training")
    (made,) = json.loads(jamak(operator, "adapters", "list", "--json").stdout)["versions"]
    jamak(operator, "adapters", "activate", made["version"])

    def used() -> bool:
        info = [one for one in read_metrics(port) if one.name == "jamak_adapter_info"]
        return [one.labels["version"] for one in info] == [made["version"]]

    wait_until(used, 30, "a captioner with the adapter")
