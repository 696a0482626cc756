"""What each cause of a failed request becomes: decided in one place for all that read or write."""

from __future__ import annotations

from typing import Any

import aiohttp
import botocore.exceptions as boto
import pytest
from botocore.parsers import ResponseParserError

from actors.storage.errors import explained
from schemas.errors import (
    AccessDeniedError,
    CredentialsError,
    NoSuchPlaceError,
    NotFoundError,
    OpenError,
    ReplacedError,
    StorageUnavailableError,
)

SHOWN = "s3://bucket/clip.mp4"


def answer(code: str, status: int) -> Exception:
    details: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(details, "GetObject")


def http(status: int) -> Exception:
    return aiohttp.ClientResponseError(None, (), status=status)  # type: ignore[arg-type]


def wrapped(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class HttpError(Exception):
    """As gcsfs has it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"told, {code}")
        self.code = code


class AzureError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("told")
        self.status_code = status


class CutError(Exception):
    code = 400
    """Of nobody's answer: as aiohttp has it where a body ends too soon."""


def unreachable() -> Exception:
    return boto.EndpointConnectionError(endpoint_url="http://me:hushhush@127.0.0.1:9/b?sig=hush")


@pytest.mark.parametrize(
    ("cause", "kind", "message"),
    [
        (answer("ExpiredToken", 400), CredentialsError, "ExpiredToken (HTTP 400)"),
        (answer("SignatureDoesNotMatch", 403), CredentialsError, "standard AWS chain"),
        (answer("403", 403), AccessDeniedError, "denied, HTTP 403;"),
        (answer("AccessDenied", 403), AccessDeniedError, "storage.anonymous"),
        (answer("404", 404), NotFoundError, f"there is no object at {SHOWN}"),
        (answer("NoSuchBucket", 404), NoSuchPlaceError, f"there is no bucket at {SHOWN}"),
        (answer("SlowDown", 503), StorageUnavailableError, "SlowDown (HTTP 503)"),
        (answer("RequestTimeout", 400), StorageUnavailableError, "RequestTimeout"),
        (answer("TooManyRequests", 429), StorageUnavailableError, "429"),
        (answer("InternalError", 200), StorageUnavailableError, "InternalError"),
        (answer("InvalidRequest", 400), OpenError, f"refuses {SHOWN}: InvalidRequest (HTTP 400)"),
        (wrapped(PermissionError("Forbidden"), answer("403", 403)), AccessDeniedError, "403"),
        (wrapped(OSError("busy"), answer("SlowDown", 503)), StorageUnavailableError, "503"),
        (HttpError(503), StorageUnavailableError, "HTTP 503"),
        (HttpError(412), ReplacedError, "was replaced"),
        (AzureError(404), NotFoundError, "no object"),
        (wrapped(OSError("cut"), CutError()), StorageUnavailableError, "cut"),
        (boto.NoCredentialsError(), CredentialsError, f"no credentials for {SHOWN}"),
        (boto.ProfileNotFound(profile="nobody"), CredentialsError, "nobody"),
        (unreachable(), StorageUnavailableError, "is storage.endpoint_url right?"),
        (boto.ReadTimeoutError(endpoint_url="x"), StorageUnavailableError, "ReadTimeoutError"),
        (ResponseParserError("invalid XML"), StorageUnavailableError, "invalid XML"),
        (boto.ParamValidationError(report="bad key"), OpenError, "bad key"),
        (TimeoutError(), StorageUnavailableError, "no answer in time"),
        (ConnectionResetError(), StorageUnavailableError, "ConnectionResetError"),
        (http(401), AccessDeniedError, "denied"),
        (http(404), NotFoundError, "there is no object"),
        (http(416), OpenError, "HTTP 416"),
        (http(502), StorageUnavailableError, "HTTP 502"),
        (
            wrapped(FileNotFoundError("x"), aiohttp.ServerDisconnectedError()),
            StorageUnavailableError,
            "FileNotFoundError",
        ),
        (FileNotFoundError("x"), NotFoundError, "there is no object"),
        (PermissionError("x"), AccessDeniedError, "denied"),
        (TypeError("host is missing"), OpenError, "TypeError: host is missing"),
        (KeyError("fo"), OpenError, "KeyError"),
        (ValueError("half an answer"), StorageUnavailableError, "half an answer"),
        (OpenError("said before"), OpenError, "said before"),
    ],
)
def test_causes(cause: Exception, kind: type[OpenError], message: str) -> None:
    found = explained(cause, SHOWN)
    assert type(found) is kind
    assert message in str(found)
    assert "hush" not in str(found)


def test_the_way_to_s3_is_told_of_s3_alone() -> None:
    told = str(explained(http(403), "gs://bucket/clip.mp4"))
    assert told == "access to gs://bucket/clip.mp4 denied, HTTP 403"
