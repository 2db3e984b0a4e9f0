"""Reports of judges, beside the versions that they are about; and the policy that reads them.

    adapters/<base>/<version>/judged.json, .md, .html
    adapters/policy.yaml

A version that is judged again has the newest report.
"""

from collections.abc import Mapping
from contextlib import suppress

from shared.bucket.registry import base_name
from shared.bucket.storage import ObjectStore
from shared.bucket.stored import read
from shared.errors import ConfigError, Missing, TooLarge
from shared.judged import Judged
from shared.policy import MOST_BYTES, Policy, read_policy

REPORT = "judged.json"
POLICY = "policy.yaml"
MOST_REPORT_BYTES = 16 << 20
TYPES = {
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
}


class Reports:
    """`bucket` and `prefix` are those of the output."""

    def __init__(self, store: ObjectStore, bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._root = store, bucket, f"{prefix}adapters/"

    def write(self, base_sha256: str, version: str, files: Mapping[str, bytes]) -> str:
        """The report itself last: who finds it, finds its pages.

        Args:
            files: name -> content.

        Returns:
            Where it lies.
        """
        for name in sorted(files, key=lambda name: name == REPORT):
            key = self._key(base_sha256, version, name)
            kind = TYPES[name.rpartition(".")[2]]
            self._store.put(self._bucket, key, files[name], content_type=kind)
        return f"s3://{self._bucket}/{self._key(base_sha256, version, REPORT)}"

    def find(self, base_sha256: str, version: str) -> Judged | None:
        """None: it was not judged.

        Raises:
            NewerObject, DamagedObject.
        """
        key = self._key(base_sha256, version, REPORT)
        with suppress(Missing):
            return read(self._store, Judged, self._bucket, key, most=MOST_REPORT_BYTES)
        return None

    def policy(self) -> Policy | None:
        """None: there is none, so that what trainings measure themselves decides.

        Raises:
            ConfigError: it is no policy.
        """
        where = f"s3://{self._bucket}/{self._root}{POLICY}"
        try:
            body = self._store.get(self._bucket, f"{self._root}{POLICY}", MOST_BYTES)
        except Missing:
            return None
        except TooLarge as error:
            raise ConfigError(f"{where} is no policy: {error}", cure="Write it anew.") from error
        return read_policy(body, where)

    def _key(self, base_sha256: str, version: str, name: str) -> str:
        return f"{self._root}{base_name(base_sha256)}/{version}/{name}"
