"""What an error of S3 means for the object that was asked for: try again, give it up, or change
something. The store's own words for it come in from botocore; what goes out is ours.

Whatever is not known here is an outage if it comes from the connection, a setting if it comes from
boto3 itself, and a refusal if the store says it: nothing of botocore's goes further in. Knows
nothing of requests.
"""

from botocore.exceptions import BotoCoreError, ClientError

from shared.bucket.refusals import (
    KMS_MAY_PASS,
    code_of,
    passes,
    refusal,
    status_of,
    told_by,
    unavailable,
)
from shared.errors import (
    Archived,
    Conflict,
    Encrypted,
    Forbidden,
    JamakError,
    Missing,
    NoSuchBucket,
    Overwritten,
    StoreRefuses,
    StoreUnavailable,
)

NOT_S3 = (
    "Something else answers in the place of S3: look at AWS_ENDPOINT_URL, and at proxies and "
    "login pages between here and there."
)
OF_ANSWERS = (KeyError, RecursionError)
"""An answer lacks what S3's have; or each is a redirect, which boto3 follows by asking in which
region the bucket lies, and so on."""
_LIBRARIES = {"botocore", "boto3", "s3transfer", "urllib3", "http"}
_GONE = {"NoSuchKey", "NoSuchVersion", "NotFound"}


def is_foreign(error: BaseException) -> bool:
    """Whether a library of ours that talks to S3 raised it; a full disk is another matter."""
    return type(error).__module__.partition(".")[0] in _LIBRARIES


def meaning(where: str, bucket: str, error: Exception, *, writing: bool) -> JamakError:
    """Args:
    where: what messages call the object.
    error: of boto3, or one of OF_ANSWERS.
    """
    if isinstance(error, RecursionError):
        return StoreUnavailable(f"{where}: it is no answer of S3 (redirected)", cure=NOT_S3)
    if isinstance(error, KeyError):
        return StoreUnavailable(f"{where}: the answer has no {error}", cure=NOT_S3)
    if isinstance(error, ClientError):
        return _of_answer(where, bucket, error, writing=writing)
    if isinstance(error, BotoCoreError):
        refused = refusal(where, error)
        return refused or unavailable(StoreUnavailable, where, error)
    if type(error).__name__ == "ResponseParserError":
        return StoreUnavailable(f"{where}: the answer is none of S3", cure=NOT_S3)
    return unavailable(StoreUnavailable, where, error)


def _of_answer(where: str, bucket: str, error: ClientError, *, writing: bool) -> JamakError:
    status, code, told = status_of(error), code_of(error), told_by(error)
    if status == 412 and writing:
        return Conflict(f"{where}: {code}")
    if status == 412:
        return Overwritten(f"{where} is no longer the version that was asked for")
    if passes(error):
        return StoreUnavailable(f"{where}: {code or status}")
    if code == "NoSuchBucket":
        return NoSuchBucket(bucket)
    refused = refusal(where, error)
    if refused is not None:
        return refused
    if 200 <= status < 400:
        return StoreUnavailable(f"{where}: it is no answer of S3 ({code or status})", cure=NOT_S3)
    return (
        _of_state(where, code, told)
        or _of_presence(where, status, code, writing=writing)
        or StoreRefuses(f"{where}: S3 refuses it: {code}: {told}")
    )


def _of_state(where: str, code: str, told: str) -> JamakError | None:
    """It is there, and cannot be had as it is."""
    if code == "InvalidObjectState":
        return Archived(f"{where} is archived ({told})")
    if code.startswith("KMS.") and code not in KMS_MAY_PASS:
        return Encrypted(
            f"{where}: its KMS key cannot be used ({code}: {told})",
            cure="Enable the key again, or copy the object with another key.",
        )
    if "kms:" in told:
        return Forbidden(
            f"{where}: the use of its KMS key is denied ({told})",
            cure="Let the role use the key: kms:Decrypt to read, kms:GenerateDataKey to write.",
        )
    if code == "InvalidRequest" and "encryption" in told.lower():
        return Encrypted(f"{where} is encrypted with a key that only its owner has (SSE-C)")
    return None


def _of_presence(where: str, status: int, code: str, *, writing: bool) -> JamakError | None:
    # To ask for a version that is a delete marker is "not allowed".
    if status == 404 or code in _GONE or (status == 405 and not writing):
        return Missing(f"{where} does not exist ({code})")
    if code == "QuotaExceeded":
        return Forbidden(f"{where}: its owner's quota is used up ({code})", cure="Raise the quota.")
    if status == 403:
        return Forbidden(f"{where}: access denied ({code})")
    return None
