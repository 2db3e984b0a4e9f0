"""Where a policy lies: in a file here or in S3, as `JAMAK_POLICY` or an argument says."""

from pathlib import Path

from shared.bucket.keys import parse_uri
from shared.bucket.storage import ObjectStore
from shared.errors import ConfigError, Missing, TooLarge
from shared.policy import MOST_BYTES, Policy, read_policy


def policy_at(address: str, store: ObjectStore) -> Policy:
    """Raises ConfigError: it is not there, or is no policy."""
    cure = "Check JAMAK_POLICY, or the argument that names it."
    try:
        return read_policy(_body(address, store), address)
    except Missing as error:
        raise ConfigError(f"the policy {address} does not exist", cure=cure) from error
    except (OSError, TooLarge) as error:
        raise ConfigError(f"the policy {address} cannot be read: {error}", cure=cure) from error


def _body(address: str, store: ObjectStore) -> bytes:
    if address.startswith("s3://"):
        return store.get(*parse_uri(address), MOST_BYTES)
    with Path(address).open("rb") as file:
        return file.read(MOST_BYTES)
