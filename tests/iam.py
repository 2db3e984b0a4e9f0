"""An AWS account of our own, in which each role may do what its policy says and nothing else."""

import http.client
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from infra.local.ports import LOOPBACK, on_free_port
from infra.local.processes import Process, stop
from infra.local.procfile import ROOT

REGION = "us-east-1"
ACCOUNT = "123456789012"
"""moto's."""


EVERYTHING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)
"""The policy of an administrator."""


@dataclass(frozen=True)
class Decision:
    role: str
    action: str
    resource: str
    allowed: bool


class Account:
    """moto's server (tests/iam_server.py). Whatever is done before `enforce` is done by an
    administrator."""

    def __init__(self, folder: Path) -> None:
        def start(port: int) -> Process:
            process = Process(
                "aws",
                [sys.executable, "-m", "tests.iam_server", "--host", LOOPBACK, "--port", str(port)],
                log=folder / "aws.log",
                env={k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MOTO_"))},
                cwd=ROOT,
            )
            process.wait_until(lambda: self._ask("GET", "/moto-api/", port=port) == 200, 60)
            self.port = port
            return process

        folder.mkdir(parents=True, exist_ok=True)
        self.process = on_free_port(start)
        self.roles: dict[str, dict[str, str]] = {}
        self._clients: dict[tuple[str, str | None], Any] = {}

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def admin(self) -> dict[str, str]:
        """AWS_* variables."""
        return self._env("admin", "admin")

    def client(self, service: Any, role: str | None = None) -> Any:
        """Args:
        role: who asks; None: the administrator, until policies are in force.
        """
        if (service, role) not in self._clients:
            self._clients[service, role] = self._made(
                service, self.roles[role] if role else self.admin
            )
        return self._clients[service, role]

    def _made(self, service: Any, env: Mapping[str, str]) -> Any:
        return boto3.Session(
            env["AWS_ACCESS_KEY_ID"],
            env["AWS_SECRET_ACCESS_KEY"],
            env.get("AWS_SESSION_TOKEN"),
            region_name=REGION,
        ).client(
            service,
            endpoint_url=self.endpoint,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def make_role(self, name: str, policy: str) -> None:
        iam = self.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy)

    def assume(self, name: str, role: str) -> None:
        """From now on somebody has the credentials of this role.

        Args:
            name: of the role in IAM.
            role: by which it is called here.
        """
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        given = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        env = self._env(given["AccessKeyId"], given["SecretAccessKey"])
        self.roles[role] = {**env, "AWS_SESSION_TOKEN": given["SessionToken"]}

    def enforce(self) -> None:
        assert self._ask("POST", "/moto-api/reset-auth", b"0") == 200

    def trust_everybody(self) -> None:
        """Policies are not in force any more, until `enforce`."""
        assert self._ask("POST", "/moto-api/reset-auth", b"inf") == 200

    def decisions(self) -> list[Decision]:
        """What was decided since `enforce`, in the order of the requests."""
        lines = self.process.log.read_text(errors="replace").splitlines()
        return [Decision(**json.loads(line)) for line in lines if line.startswith('{"role"')]

    def stop(self) -> None:
        stop([self.process])

    def _env(self, key: str, secret: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": REGION,
        }

    def _ask(
        self, method: str, path: str, body: bytes | None = None, port: int | None = None
    ) -> int | None:
        connection = http.client.HTTPConnection(LOOPBACK, port or self.port, timeout=10)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()


@contextmanager
def acting_as(env: Mapping[str, str]) -> Iterator[None]:
    """In this process: clients of boto3 that are made here have these credentials."""
    before = boto3.DEFAULT_SESSION
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        boto3.setup_default_session()
        try:
            yield
        finally:
            boto3.DEFAULT_SESSION = before
