from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.s3 import OUTPUT_BUCKET, S3Server, start_s3
from tests.crew import Crew


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = start_s3(tmp_path_factory.mktemp("s3"))
    server.s3().put_bucket_versioning(
        Bucket=OUTPUT_BUCKET, VersioningConfiguration={"Status": "Enabled"}
    )
    yield server
    server.stop()


@pytest.fixture
def crew(s3: S3Server, tmp_path: Path) -> Iterator[Crew]:
    made = Crew(s3, tmp_path / tmp_path.name)
    yield made
    made.fleet.close()
