"""What benchmarks.sickness counts, and what it may take of the machine."""

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from benchmarks import sickness_members
from benchmarks.sickness_cases import again_and_again
from benchmarks.sickness_fronts import HttpFront, losing_answers, refusing
from benchmarks.sickness_members import TooMuchMemory, check_memory
from infra.local.processes import Process, stop

ONCE = Config(retries={"total_max_attempts": 1})


@pytest.fixture
def front(aws: dict[str, str]) -> Iterator[HttpFront]:
    made = HttpFront(urlsplit(aws["AWS_ENDPOINT_URL"]).port or 80)
    yield made
    made.close()


def test_each_write_is_counted_also_one_whose_answer_is_lost(
    front: HttpFront, buckets: tuple[str, str]
) -> None:
    bucket, _ = buckets
    client = boto3.client("s3", endpoint_url=front.endpoint, config=ONCE)
    client.put_object(Bucket=bucket, Key="counted/한 글.json", Body=b"1")
    front.rules.append(losing_answers(lambda asked: asked.method == "PUT"))
    with suppress(BotoCoreError):
        client.put_object(Bucket=bucket, Key="counted/한 글.json", Body=b"2")
    front.rules[:] = [refusing(503, "SlowDown", lambda asked: asked.method == "PUT")]
    with pytest.raises(client.exceptions.ClientError):
        client.put_object(Bucket=bucket, Key="counted/한 글.json", Body=b"3")
    front.rules.clear()
    with pytest.raises(client.exceptions.ClientError):
        client.put_object(Bucket=bucket, Key="counted/한 글.json", Body=b"4", IfNoneMatch="*")
    told = client.list_object_versions(Bucket=bucket, Prefix="counted/")
    assert front.written == [f"{bucket}/counted/한 글.json"] * len(told["Versions"])
    assert len(told["Versions"]) == 2


def test_what_makes_ill_ends_with_a_case_that_breaks() -> None:
    before = set(threading.enumerate())
    with pytest.raises(TooMuchMemory), again_and_again(lambda: None, 0.01):
        raise TooMuchMemory("s3 holds 4.1 GB of memory")
    assert set(threading.enumerate()) <= before


def test_a_process_that_eats_the_machine_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = Process("s3", command, log=tmp_path / "log", env={}, cwd=tmp_path)
    try:
        check_memory(process)
        monkeypatch.setattr(sickness_members, "MOST_MEMORY", 1)
        with pytest.raises(TooMuchMemory, match=r"s3 holds 0\.0 GB of memory"):
            check_memory(process)
    finally:
        stop([process])
    check_memory(process)  # one that has ended holds nothing
