"""How a store wants to be asked, where S3's own way does not work there and another one does.

Learned by trying (`proofs.py`, and the first write), and kept as long as the process lives. What a
store cannot do in any way is no dialect: it is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from shared.bucket.refusals import code_of, status_of
from shared.errors import StoreUnavailable


@dataclass
class Dialect:
    quoted: bool = True
    """At a PUT, the ETag of `If-Match` stands in quotes. Ceph RGW 16 takes it without, only."""
    ordered: bool = True
    """Keys are listed in the order of their UTF-8 bytes, and on from any key that is named.
    SeaweedFS lists folder by folder."""

    def if_match(self, etag: str) -> str:
        return f'"{etag}"' if self.quoted else etag


class WholeAnswer(StoreUnavailable):
    """A part of an object was asked for, and something else came."""


def may_be_of_checksums(error: ClientError) -> bool:
    """Whether a write may have been refused for nothing but the checksum that follows it (over TLS
    boto3 sends it as a trailer): not implemented, not understood, no length. Google's answer is
    that the signature is wrong."""
    return status_of(error) in (400, 411, 501) or code_of(error) == "SignatureDoesNotMatch"


EMPTY_PAGES = 100
"""In a row. S3 may send some where much was deleted."""


def pages(where: str, ask: Callable[[dict[str, Any]], Any]) -> Iterator[Any]:
    """All pages of a listing.

    Args:
        ask: for one page, with what says where it goes on.

    Raises:
        StoreUnavailable: it goes round in circles, or does not say where it goes on.
    """
    seen: set[str] = set()
    more: dict[str, Any] = {}
    empty = 0
    while True:
        page = ask(more)
        yield page
        if not page["IsTruncated"]:
            return
        token = page.get("NextContinuationToken", "")
        names = [item["Key"] for item in page.get("Contents", ())]
        names += [item["Prefix"] for item in page.get("CommonPrefixes", ())]
        marks = {f"token {token}", *names[:1]}
        empty = 0 if names else empty + 1
        if not token or marks & seen or empty > EMPTY_PAGES:
            raise StoreUnavailable(
                f"the listing of {where} does not end",
                cure="The store lists wrongly: `jamak doctor` shows what it can do.",
            )
        seen |= marks
        more = {"ContinuationToken": token}
