"""What of an address's query says which file it is, and what only opens it."""

import hashlib
import re
from urllib.parse import unquote

OPENS = re.compile(
    r"x-amz-.*|awsaccesskeyid|x-id|signature|expires|policy|key-pair-id|x-goog-.*|googleaccessid"
)
"""Names that go with a signature of S3, CloudFront or Google; `x-id` comes from AWS's SDK for
JavaScript."""
SAS = re.compile(r"s[vrtesp]|srt|spr|sip|sig|sdd|scid|s[ak]oid|suoid|sktid|sk[tesv]")
"""Azure's; without a `sig` such short names mean something else.
learn.microsoft.com, "Create a user delegation SAS"."""


def digest_of_query(query: str) -> str:
    """16 hex digits of what is left without that; empty, if nothing is."""
    pairs = {pair: unquote(pair.partition("=")[0]).lower() for pair in query.split("&") if pair}
    if "sig" in pairs.values():
        pairs = {pair: name for pair, name in pairs.items() if not SAS.fullmatch(name)}
    left = sorted(pair for pair, name in pairs.items() if not OPENS.fullmatch(name))
    return hashlib.sha256("&".join(left).encode()).hexdigest()[:16] if left else ""
