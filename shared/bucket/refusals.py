"""What the errors of S3 and SQS mean whatever was asked for: who asks and from where, what boto3
cannot work with, and what passes by itself.

Knows boto3's errors. What is missing or denied is the business of whoever asked.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from botocore.exceptions import (
    AwsChunkedWrapperError,
    BotoCoreError,
    CapacityNotAvailableError,
    ChecksumError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    ConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    InvalidDNSNameError,
    InvalidHostLabelError,
    InvalidRegionError,
    LoginError,
    MetadataRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PaginationError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
    UnseekableStreamError,
    UnsupportedOutpostResourceError,
    UnsupportedS3AccesspointConfigurationError,
    UnsupportedS3ArnError,
)

from shared.errors import (
    BadCredentials,
    ConfigError,
    QueueUnavailable,
    StoreUnavailable,
    WrongRegion,
)
from shared.unreachable import why_unreachable

U = TypeVar("U", StoreUnavailable, QueueUnavailable)

NO_ANSWER = (
    CredentialRetrievalError,
    LoginError,
    MetadataRetrievalError,
    SSOError,
    TokenRetrievalError,
)
"""Who hands out credentials does not, for now: each request asks there again."""
MAY_PASS = (
    *NO_ANSWER,
    ConnectionError,
    HTTPClientError,
    # The connection broke in the middle, what came was mangled, or too much is asked at once.
    AwsChunkedWrapperError,
    CapacityNotAvailableError,
    ChecksumError,
    FlexibleChecksumError,
    IncompleteReadError,
    PaginationError,
    UnseekableStreamError,
)
"""Whatever else boto3 raises of itself is about its settings, and no other try can mend it."""
NO_ADDRESS = (
    InvalidDNSNameError,
    InvalidHostLabelError,
    ParamValidationError,
    UnsupportedOutpostResourceError,
    UnsupportedS3AccesspointConfigurationError,
    UnsupportedS3ArnError,
)
KMS_MAY_PASS = {
    "KMS.ThrottlingException",
    "KMS.InternalException",
    "KMS.DependencyTimeoutException",
}
_PASSES = {
    "SlowDown",
    "RequestTimeout",
    "RequestLimitExceeded",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "TemporaryRedirect",
    "Busy",
    # What was sent was mangled on its way; or S3 gave up the parts meanwhile.
    "BadDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "NoSuchUpload",
    *KMS_MAY_PASS,
}

_CODES = {
    # An S3 or SQS code, or both of them, and what it means.
    "InvalidAccessKeyId": "its access key is unknown there",
    "InvalidClientTokenId": "its access key is unknown there",
    "UnrecognizedClientException": "its access key is unknown there",
    "SignatureDoesNotMatch": "its secret key is not the one of the access key",
    "InvalidSignatureException": "its secret key is not the one of the access key",
    "IncompleteSignature": "its signature is not understood",
    "MissingAuthenticationToken": "its request is not signed",
    "InvalidToken": "its session token is not valid",
    "ExpiredToken": "its session token has expired",
    "ExpiredTokenException": "its session token has expired",
    "TokenRefreshRequired": "its session token has expired",
    "RequestTimeTooSkewed": "its clock is wrong",
    "RequestExpired": "its clock is wrong",
    "NotSignedUp": "its account has not signed up for the service",
    "AccountProblem": "there is a problem with its account",
}
_CURES = {
    "its session token has expired": "Log in again, or let a role or profile renew it.",
    "its clock is wrong": "Set this machine's clock: run NTP (chrony, systemd-timesyncd).",
}
_REGION = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidLocationConstraint",
    "301",
}


def refusal(where: str, error: ClientError | BotoCoreError) -> ConfigError | None:
    """Why it cannot work; None: it is for another reason that this failed."""
    if isinstance(error, ClientError):
        return _of_answer(where, error)
    if isinstance(error, NO_ADDRESS):
        return ConfigError(f"{where} is no address: {error}", cure="Correct it.")
    if isinstance(error, MAY_PASS):
        return None
    return _of_client(where, error)


def passes(error: ClientError) -> bool:
    """Whether the same request may well be answered later."""
    status, code = status_of(error), code_of(error)
    refused = status == 501 or code == "NotImplemented"
    busy = status in (408, 425, 429) or status >= 500
    return code in _PASSES or "Throttl" in code or (busy and not refused)


def unavailable(kind: type[U], where: str, error: Exception) -> U:
    """For what may pass."""
    if isinstance(error, NO_ANSWER):
        return kind(f"{where}: {error}", cure=BadCredentials.cure)
    known = why_unreachable(error)
    if known is None:
        return kind(f"{where}: {error or type(error).__name__}")
    what, cure = known
    return kind(f"{where}: {what} ({error})", cure=f"{cure} (AWS_ENDPOINT_URL, if you set one.)")


def _of_answer(where: str, error: ClientError) -> ConfigError | None:
    # Some stores answer SQS in a form that boto3 does not read: then the code is in the text.
    told = told_by(error)
    for code in (code_of(error), *re.findall(r"<Code>(\w+)</Code>", told)):
        if code in _CODES:
            what = _CODES[code]
            return BadCredentials(
                f"{where}: who asks is not let in: {what} ({code})", cure=_CURES.get(what)
            )
        if code in _REGION:
            return WrongRegion(f"{where} lies in another region ({code}: {told})")
    return None


def _of_client(where: str, error: BotoCoreError) -> ConfigError:
    if isinstance(error, NoRegionError):
        return WrongRegion(f"{where}: no AWS region", cure="Set AWS_DEFAULT_REGION.")
    if isinstance(error, InvalidRegionError):
        return WrongRegion(f"{where}: {error}")
    if isinstance(error, NoCredentialsError):
        return BadCredentials(
            f"{where}: no AWS credentials",
            cure="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role.",
        )
    if isinstance(error, PartialCredentialsError):
        return BadCredentials(f"{where}: {error}")
    if isinstance(error, ProfileNotFound | ConfigNotFound | ConfigParseError):
        return ConfigError(
            f"{where}: {error}", cure="Check AWS_PROFILE, and ~/.aws/config or AWS_CONFIG_FILE."
        )
    return ConfigError(
        f"{where}: {error}", cure="Check the AWS settings: the AWS_* variables and ~/.aws/config."
    )


@contextmanager
def of_client(service: str) -> Iterator[None]:
    """Around the making of a client. Raises ConfigError: with these settings there can be none."""
    try:
        yield
    except NO_ANSWER as error:
        raise BadCredentials(f"{service}: {error}") from error
    except BotoCoreError as error:
        raise refusal(service, error) or unavailable(StoreUnavailable, service, error) from error
    except ValueError as error:  # an endpoint that is none
        raise ConfigError(
            f"{service}: {error}", cure="AWS_ENDPOINT_URL has to be http://host:port or https://…"
        ) from error


def code_of(error: Exception) -> str:
    """S3's or SQS's word for it, or the number of an answer without a text."""
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def told_by(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def status_of(error: Exception) -> int:
    if not isinstance(error, ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def date_of(answer: Any) -> float | None:
    """When it was given, by the server's clock; seconds since 1970."""
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(told).timestamp() if told else None
