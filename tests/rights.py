"""Who may do what in AWS, as a table, and how to ask for each thing in it."""

from collections.abc import Iterator
from dataclasses import dataclass

from botocore.exceptions import ClientError

from tests.iam import ACCOUNT, Account

ROLES = (
    *("captioner", "feeder", "listener", "operator"),
    *("retrainer", "scaler", "trainer", "watcher"),
)

WHO_MAY = """
                    captioner feeder listener operator retrainer scaler trainer watcher
list    videos      x         .      x        x        x         .      x       .
list    data        .         .      .        x        .         .      x       .
list    exports     .         .      .        x        .         .      .       .
list    records     x         x      .        x        x         x      x       x
get     videos      x         .      x        x        x         .      x       .
get     other-videos .         .      .        .        .         .      .       .
get     data        .         .      .        x        .         .      x       .
get     exports     .         .      .        x        .         .      .       .
get     elsewhere   .         .      .        .        .         .      .       .
get     records     x         .      .        x        x         .      .       x
get     failures    x         .      .        x        .         .      .       .
get     parts       x         .      .        x        .         .      .       .
get     asked       .         .      .        x        .         .      .       .
get     captions    x         .      .        x        .         .      .       .
get     adapters    x         .      .        x        .         .      x       .
get     pointers    x         .      .        x        x         .      x       x
get     training    .         .      .        x        x         .      x       .
get     backlogs    .         x      .        x        .         x      .       .
get     costs       .         x      .        x        .         .      .       .
get     feedback    .         .      .        x        x         .      .       x
get     retraining  .         .      .        x        x         .      .       .
get     rules       .         .      .        x        x         .      .       .
get     sets        .         .      .        x        x         .      x       .
get     probes      x         x      .        x        x         .      x       x
version videos      x         .      .        .        .         .      .       .
put     videos      .         .      .        x        .         .      .       .
put     other-videos .         .      .        .        .         .      .       .
put     data        .         .      .        .        .         .      .       .
put     exports     .         .      .        x        .         .      .       .
put     elsewhere   .         .      .        .        .         .      .       .
put     records     x         .      .        .        .         .      .       .
put     failures    x         .      .        .        .         .      .       .
put     parts       x         .      .        .        .         .      .       .
put     asked       .         .      .        x        .         .      .       .
put     captions    x         .      .        x        .         .      .       .
put     adapters    .         .      .        .        .         .      x       .
put     pointers    .         .      .        x        .         .      x       x
put     pages       x         .      .        .        .         .      x       .
put     states      .         .      .        .        .         .      x       x
put     lease       .         .      .        .        .         .      x       x
put     training    .         .      .        x        .         .      x       .
put     requests    .         .      .        x        x         .      x       .
put     backlogs    .         .      .        x        .         .      .       .
put     cursors     .         x      .        x        .         .      .       .
put     costs       x         .      .        .        .         .      x       .
put     feedback    .         .      .        x        .         .      .       .
put     retraining  .         .      .        x        x         .      .       .
put     rules       .         .      .        x        .         .      .       .
put     sets        .         .      .        x        x         .      .       .
put     probes      x         x      .        x        x         .      x       x
delete  videos      .         .      .        .        .         .      .       .
delete  records     .         .      .        .        .         .      .       .
delete  failures    .         .      .        x        .         .      .       .
delete  parts       .         .      .        .        .         .      .       .
delete  asked       .         .      .        x        .         .      .       .
delete  captions    .         .      .        .        .         .      .       .
delete  adapters    .         .      .        x        .         .      .       .
delete  training    .         .      .        .        .         .      .       .
delete  backlogs    .         .      .        x        .         .      .       .
delete  costs       .         .      .        .        .         .      .       .
delete  feedback    .         .      .        .        .         .      .       .
delete  probes      .         .      .        .        .         .      .       .
abort   videos      .         .      .        x        .         .      .       .
abort   records     .         .      .        .        .         .      .       .
receive events      .         .      x        .        .         .      .       .
change  events      .         .      x        .        .         .      .       .
look    events      .         .      x        x        .         x      .       .
send    events      .         .      .        .        .         .      .       .
purge   events      .         .      .        .        .         .      .       .
receive dead        .         .      .        .        .         .      .       .
look    dead        .         .      x        .        .         .      .       .
find    dead        .         .      x        x        .         .      .       .
send    dead        .         .      x        .        .         .      .       .
policy  videos      .         .      .        .        .         .      .       .
rules   records     .         .      .        .        .         .      .       .
buckets all         .         .      .        .        .         .      .       .
role    admin       .         .      .        .        .         .      .       .
"""
"""Read like this: `put records` may the captioner, and nobody else."""


@dataclass(frozen=True)
class Names:
    """Of what is asked for."""

    videos: str
    """Buckets. Of the videos those under `in/` count."""
    output: str
    prefix: str
    data: str
    exports: str
    events_url: str
    dead_letters_url: str
    topmost: str
    """A role that nobody may take."""

    def place(self, name: str) -> tuple[str, str]:
        """Bucket and key."""
        if name in IN_THE_OUTPUT:
            return self.output, f"{self.prefix}{IN_THE_OUTPUT[name]}"
        bucket, key = {
            "videos": (self.videos, "in/nobody's.mp4"),
            "other-videos": (self.videos, "private/a.mp4"),
            "data": (self.data, "set/nobody's.jsonl"),
            "exports": (self.exports, "set/nobody's.jsonl"),
            "elsewhere": (self.output, "somebody-elses.txt"),
        }.get(name, ("", ""))
        return bucket, key


IN_THE_OUTPUT = {
    "records": "records/b/r/k.json",
    "failures": "failures/b/r/k.json",
    "parts": "parts/b/r/k/0001.json",
    "asked": "asked/https:h/r/k.json",
    "captions": "captions/b/k.vtt",
    "adapters": "adapters/b/v/adapter_model.safetensors",
    "pointers": "adapters/b/active.json",
    "pages": "adapters/b/trials/3/worker-0.json",
    "states": "adapters/b/trials/3/state.json",
    "lease": "adapters/watcher.json",
    "training": "training/t1/decision.json",
    "requests": "training/t1/asked.json",
    "backlogs": "backlogs/n/shards/00000.jsonl.gz",
    "cursors": "backlogs/n/cursor.json",
    "costs": "costs/2026-11-29/w.json",
    "feedback": f"feedback/{'0' * 64}.json",
    "retraining": "retraining/000001.json",
    "rules": "retraining/rules.yaml",
    "sets": f"retraining/sets/{'0' * 64}.jsonl",
    "probes": "probes/alive",
}


def rows() -> Iterator[tuple[str, str, dict[str, bool]]]:
    """Action, place, and which role may."""
    header, *lines = WHO_MAY.strip().splitlines()
    for line in lines:
        action, place, *marks = line.split()
        allowed = dict(zip(header.split(), (mark == "x" for mark in marks), strict=True))
        yield action, place, allowed


def is_refused(account: Account, role: str, names: Names, action: str, place: str) -> bool:
    """Other errors are answers: he was let in."""
    try:
        _ask(account, role, names, action, place)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        assert code not in ("SignatureDoesNotMatch", "InvalidClientTokenId"), error
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return False


def _ask(account: Account, role: str, names: Names, action: str, place: str) -> None:
    """Raises ClientError."""
    s3, sqs = (account.client(service, role) for service in ("s3", "sqs"))
    bucket, key = names.place(place)
    url = names.dead_letters_url if place == "dead" else names.events_url
    where, at = {"Bucket": bucket, "Key": key}, {"QueueUrl": url}
    top = f"arn:aws:iam::{ACCOUNT}:role/{names.topmost}"
    {
        "list": lambda: s3.list_objects_v2(Bucket=bucket, MaxKeys=1),
        "get": lambda: s3.get_object(**where),
        "version": lambda: s3.head_object(**where, VersionId="v"),
        "put": lambda: s3.put_object(**where, Body=b"x"),
        "delete": lambda: s3.delete_object(**where),
        "abort": lambda: s3.abort_multipart_upload(**where, UploadId="u"),
        "receive": lambda: sqs.receive_message(**at, WaitTimeSeconds=0),
        "change": lambda: sqs.change_message_visibility(
            **at, ReceiptHandle="r", VisibilityTimeout=0
        ),
        "look": lambda: sqs.get_queue_attributes(**at, AttributeNames=["All"]),
        "find": lambda: sqs.get_queue_url(QueueName=url.rpartition("/")[2]),
        "send": lambda: sqs.send_message(**at, MessageBody="{}"),
        "purge": lambda: sqs.purge_queue(**at),
        "policy": lambda: s3.delete_bucket_policy(Bucket=bucket),
        "rules": lambda: s3.delete_bucket_lifecycle(Bucket=bucket),
        "buckets": lambda: s3.list_buckets(),
        "role": lambda: account.client("sts", role).assume_role(
            RoleArn=top, RoleSessionName="test"
        ),
    }[action]()
