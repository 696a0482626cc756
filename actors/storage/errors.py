"""From whatever a storage or its driver raises to one of our errors: the only such mapping.

Classes of drivers are recognised by name, so that nothing is imported that a job does not use.
"""

from __future__ import annotations

from actors.storage.places import PrivateAddressError, refused
from actors.storage.uris import S3_SCHEMES, scheme_of, without_secrets
from schemas.errors import (
    AccessDeniedError,
    CredentialsError,
    NoSuchPlaceError,
    NotFoundError,
    OpenError,
    ReplacedError,
    StorageUnavailableError,
)

_CREDENTIALS = (
    "credentials come from the standard AWS chain (environment, ~/.aws, instance role); "
    "for public buckets set storage.anonymous"
)
_CREDENTIAL_CODES = {
    "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
    "RequestTimeTooSkewed", "TokenRefreshRequired",
}  # fmt: skip
_DENIED_CODES = {"AccessDenied", "AllAccessDisabled", "InvalidObjectState"}
_NOT_FOUND_CODES = {"NoSuchKey", "NoSuchBucket", "NoSuchUpload"}
_TRANSIENT_CODES = {
    "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError",
    "ServiceUnavailable", "OperationAborted", "RequestThrottled",
}  # fmt: skip
_TRANSIENT_STATUS = {0, 408, 409, 429}

_OF_THE_DRIVER = (
    TypeError, AttributeError, LookupError, NotImplementedError, AssertionError, ImportError,
    RecursionError, IsADirectoryError, NotADirectoryError,
)  # fmt: skip
"""A driver that cannot do what is asked, or that the address does not tell enough."""


def explained(error: Exception, shown: str) -> OpenError:
    """The error to report for one that a request raised.

    Args:
        error: as the driver raised it.
        shown: what the request was about, fit for messages.

    Returns:
        StorageUnavailableError with the bare reason where trying again may help, else the
        error that says what is wrong with ``shown``.
    """
    if isinstance(error, OpenError):
        return error
    chain = _chain(error)
    if any(isinstance(link, PrivateAddressError) for link in chain):
        return refused(shown)
    answer = service_answer(error)
    if answer is not None:
        return _of_answer(*answer, shown=shown)
    kinds = {kind.__name__ for link in chain for kind in type(link).__mro__}
    if kinds & {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}:
        return CredentialsError(f"no credentials for {shown}: {_described(error)}; {_CREDENTIALS}")
    if kinds & {"GoogleAuthError", "ClientAuthenticationError"}:
        return CredentialsError(f"no valid credentials for {shown}: {_described(error)}")
    if kinds & {"HTTPClientError", "ClientConnectionError", "ConnectionError", "TimeoutError"}:
        # Before the next line: fsspec reports a web server out of reach as a missing file.
        hint = "; is storage.endpoint_url right?" if "EndpointConnectionError" in kinds else ""
        return StorageUnavailableError(_described(error) + hint)
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"there is no object at {shown}")
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"access to {shown} denied")
    if isinstance(error, _OF_THE_DRIVER) or "ParamValidationError" in kinds:
        return OpenError(f"cannot open {shown}: {_described(error)}")
    return StorageUnavailableError(_described(error))


def service_answer(error: BaseException) -> tuple[str, int] | None:
    """The error code ("" without one) and the HTTP status with which a storage answered."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response["Error"].get("Code", "")), int(status)
        # Of aiohttp, Azure's driver and Google's; elsewhere a code may be anything.
        names = ("status", "status_code", "code" if type(link).__name__ == "HttpError" else "")
        for status in (getattr(link, name, None) for name in names):
            if isinstance(status, int):
                return "", status
    return None


def _of_answer(code: str, status: int, *, shown: str) -> OpenError:
    told = f"{code} (HTTP {status})" if code and code != str(status) else f"HTTP {status}"
    if code in _CREDENTIAL_CODES:
        return CredentialsError(
            f"access to {shown} denied: the credentials are not valid, {told}; {_CREDENTIALS}"
        )
    if code in _DENIED_CODES or status in (401, 403):
        hint = "without s3:ListBucket a missing object looks the same; " + _CREDENTIALS
        is_s3 = scheme_of(shown) in S3_SCHEMES
        return AccessDeniedError(f"access to {shown} denied, {told}" + f"; {hint}" * is_s3)
    if code in _NOT_FOUND_CODES or status in (404, 410):
        if code == "NoSuchBucket":
            return NoSuchPlaceError(f"there is no bucket at {shown}")
        return NotFoundError(f"there is no object at {shown}")
    if status == 412:
        return ReplacedError(f"{shown} was replaced while it was read")
    if status == 501:
        return OpenError(f"the storage does not implement what was asked of {shown}: {told}")
    if status >= 500 or status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES:
        return StorageUnavailableError(told)
    return OpenError(f"the storage refuses {shown}: {told}")


def _chain(error: BaseException) -> list[BaseException]:
    """Return ``error`` and what caused it, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _described(error: BaseException) -> str:
    """Return one short line about an error, without secrets."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = without_secrets(" ".join(str(error).split()))[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
