"""An S3 and SQS API of our own: moto's server, with the buckets, the queue and the notification.

Everything is in its memory and ends with it.
"""

import http.client
import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from infra.local.ports import LOOPBACK, on_free_port
from infra.local.processes import Process, stop
from shared.errors import ConfigError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

VIDEOS_BUCKET = "jamak-videos"
OUTPUT_BUCKET = "jamak-output"
QUEUE = "jamak-events"
DEAD_LETTERS = "jamak-events-dead"
MAX_RECEIVES = 5
"""Before an event that cannot be handled moves to the dead letters."""

REGION = "us-east-1"
ACCESS_KEY = SECRET_KEY = "local"  # noqa: S105  # moto takes any
SERVER = [sys.executable, "-m", "infra.local.s3_server"]
START_S = 60.0


@dataclass(frozen=True)
class S3Server:
    process: Process
    port: int

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def queue_url(self) -> str:
        return self.sqs().get_queue_url(QueueName=QUEUE)["QueueUrl"]

    @property
    def env(self) -> dict[str, str]:
        """What boto3 and the `aws` command need to find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def s3(self) -> "S3Client":
        return self._session().client("s3", endpoint_url=self.endpoint, config=_DIRECT)

    def sqs(self) -> "SQSClient":
        return self._session().client("sqs", endpoint_url=self.endpoint, config=_DIRECT)

    def _session(self) -> boto3.Session:
        return boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)

    def stop(self) -> None:
        stop([self.process])


_DIRECT = Config(proxies={}, retries={"mode": "standard", "max_attempts": 3})


def start_s3(directory: Path) -> S3Server:
    """Its log is kept in the directory.

    Raises:
        ConfigError: no server is installed.
        ProcessFailed: it does not start.
    """
    if find_spec("moto") is None:
        raise ConfigError("moto is not installed", cure="pip install 'jamak[local]'.")

    def start(port: int) -> S3Server:
        process = Process(
            "s3",
            [*SERVER, "--host", LOOPBACK, "--port", str(port)],
            log=directory / "s3.log",
            # Its clients' settings are none of the server's.
            env={k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MOTO_"))},
            cwd=directory,
        )
        process.wait_until(lambda: _answers(port), START_S)
        return S3Server(process, port)

    directory.mkdir(parents=True, exist_ok=True)
    server = on_free_port(start)
    try:
        _furnish(server)
    except BaseException:
        server.stop()
        raise
    return server


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _furnish(server: S3Server) -> None:
    """As for AWS itself: buckets, queue, dead letters, and the notification between them."""
    s3, sqs = server.s3(), server.sqs()
    for bucket in (VIDEOS_BUCKET, OUTPUT_BUCKET):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=VIDEOS_BUCKET, VersioningConfiguration={"Status": "Enabled"})
    dead_letters = sqs.create_queue(QueueName=DEAD_LETTERS)["QueueUrl"]
    redrive = {"deadLetterTargetArn": _arn(sqs, dead_letters), "maxReceiveCount": MAX_RECEIVES}
    queue = sqs.create_queue(QueueName=QUEUE, Attributes={"RedrivePolicy": json.dumps(redrive)})
    s3.put_bucket_notification_configuration(
        Bucket=VIDEOS_BUCKET,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": _arn(sqs, queue["QueueUrl"]),
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                }
            ]
        },
    )


def _arn(sqs: "SQSClient", url: str) -> str:
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return found["Attributes"]["QueueArn"]
