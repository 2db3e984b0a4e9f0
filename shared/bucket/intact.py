"""Whether what came is what lies there, as far as the answer of a store lets one tell.

The length is compared by botocore, and the checksum where the store sends one. The ETag is the
MD5 of the content, unless it was sent in parts or is encrypted with a key of KMS or of the client
(docs.aws.amazon.com, "Checking object integrity"); some stores that are not AWS name it otherwise.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from shared.errors import DamagedObject

MD5 = re.compile(r"[0-9a-f]{32}")


class Mangled(Exception):
    """`body` is None where the checksum is not that of what came."""

    def __init__(self, body: bytes | None, etag: str) -> None:
        super().__init__(etag)
        self.body, self.etag = body, etag


class Etags:
    """What the ETags of a store are, by bucket, as far as has been seen. Thread-safe."""

    def __init__(self) -> None:
        self._are_md5: dict[str, bool] = {}

    def check(self, bucket: str, body: bytes, answer: Mapping[str, Any]) -> None:
        """Raises Mangled: it should be fetched once more."""
        etag = answer["ETag"].strip('"')
        own_key = answer.get("ServerSideEncryption", "AES256") != "AES256"
        if own_key or "SSECustomerAlgorithm" in answer or not MD5.fullmatch(etag):
            return
        if hashlib.md5(body, usedforsecurity=False).hexdigest() == etag:
            self._are_md5[bucket] = True
        elif self._are_md5.get(bucket) is not False:
            raise Mangled(body, etag)

    def settle(self, where: str, bucket: str, first: Mangled, second: Mangled) -> bytes:
        """Two answers of which neither is as it should be: the body, if the ETag is no MD5 there.

        Raises:
            DamagedObject: it is one, or what came was something else each time.
        """
        differ = first.etag == second.etag and first.body != second.body
        if second.body is None or differ or self._are_md5.get(bucket):
            raise DamagedObject(
                f"{where} is damaged, or comes damaged: twice it was not what its ETag or its "
                "checksum says",
                etag=second.etag,
                size_bytes=None if second.body is None else len(second.body),
            )
        self._are_md5[bucket] = False
        return second.body
