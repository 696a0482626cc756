"""Listing S3: does an object exist, and which keys begin with a prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from schemas.errors import SourceError
from schemas.media import StorageOptions

_PAGE_KEYS = 1000
"""What S3 returns at most."""

_CREDENTIALS = (
    "credentials come from the standard AWS chain (environment, ~/.aws, instance role); "
    "for public buckets set storage.anonymous"
)
_DENIED = {
    "401", "403", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId",
    "InvalidToken", "SignatureDoesNotMatch",
}  # fmt: skip

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket and a key, or the beginning of a key ("" for the whole bucket)."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Take ``s3://bucket/key`` apart.

        Raises:
            SourceError: there is no bucket in it.
        """
        bucket, _, key = uri.split("://", 1)[1].partition("/")
        if not bucket:
            raise SourceError(f"{uri!r} names no bucket; write s3://bucket/prefix")
        return cls(bucket, key)

    def sibling(self, key: str) -> S3Location:
        """Another key of the same bucket."""
        return S3Location(self.bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object of a listing; ``version`` is its ETag without quotes, None without one."""

    key: str
    version: str | None


class S3Storage:
    """S3 as one client sees it; the client is made when it is first needed.

    Args:
        options: endpoint, region, retries. Credentials come by the standard AWS chain.
    """

    def __init__(self, options: StorageOptions) -> None:
        self._options = options

    def find(self, at: S3Location) -> S3Object | None:
        """The object under exactly this key, None if there is none.

        Without the right to read objects it looks as if there was none.

        Raises:
            SourceError: S3 cannot be reached, or there are no credentials.
        """
        try:
            head = self._call(at, lambda: self._client.head_object(Bucket=at.bucket, Key=at.key))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NoSuchBucket", *_DENIED}:
                return None  # if it is worth an error, listing will raise it
            raise _explained(error, at) from None
        return S3Object(at.key, _version(head))

    def objects(self, prefix: S3Location) -> Iterator[S3Object]:
        """All objects whose keys begin with the prefix, a page at a time, in S3's order.

        "Folders" that consoles make (empty objects whose key ends in a slash) are left out.

        Raises:
            SourceError: S3 refuses, or cannot be reached.
        """
        token: str | None = None
        while True:
            page = self._page(prefix, token)
            for entry in page.get("Contents", ()):
                key: str = entry["Key"]
                if not key.endswith("/"):
                    yield S3Object(key, _version(entry))
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or token is None:
                return

    def _page(self, prefix: S3Location, token: str | None) -> dict[str, Any]:
        request = {"Bucket": prefix.bucket, "Prefix": prefix.key, "MaxKeys": _PAGE_KEYS}
        if token is not None:
            request["ContinuationToken"] = token

        def ask() -> dict[str, Any]:
            page: dict[str, Any] = self._client.list_objects_v2(**request)
            return page

        try:
            return self._call(prefix, ask)
        except ClientError as error:
            raise _explained(error, prefix) from None

    @cached_property
    def _client(self) -> Any:
        options = self._options
        return boto3.Session(region_name=options.region).client(
            "s3",
            endpoint_url=options.endpoint_url,
            config=Config(
                signature_version=UNSIGNED if options.anonymous else None,
                retries={"mode": "standard", "total_max_attempts": options.retries + 1},
                connect_timeout=min(10.0, options.timeout_sec),
                read_timeout=options.timeout_sec,
            ),
        )

    def _call(self, at: S3Location, action: Callable[[], _T]) -> _T:
        """Run a request; all that can go wrong but a refusal by S3 becomes a SourceError.

        botocore tries again by itself, also where a listing comes in half: it takes broken
        XML for an internal error of S3.
        """
        try:
            return action()
        except (NoCredentialsError, PartialCredentialsError):
            raise SourceError(f"no credentials for {at}: {_CREDENTIALS}") from None
        except EndpointConnectionError as error:
            raise SourceError(
                f"cannot reach S3 for {at}: {error}; is storage.endpoint_url right?"
            ) from None
        except ParamValidationError as error:
            raise SourceError(f"{at} is no valid S3 location: {error}") from None
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
            raise SourceError(f"cannot list {at}: {error}") from None


def _version(described: dict[str, Any]) -> str | None:
    etag: str = described.get("ETag", "")
    return etag.strip('"') or None


def _explained(error: ClientError, at: S3Location) -> SourceError:
    code = str(error.response.get("Error", {}).get("Code", "unknown error"))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return SourceError(f"nothing at {at}: there is no bucket {at.bucket!r} at this endpoint")
    if code in _DENIED or status in (401, 403):
        return SourceError(
            f"access to {at} denied ({code}): it takes s3:ListBucket and s3:GetObject; "
            f"{_CREDENTIALS}"
        )
    return SourceError(f"cannot list {at}: S3 answers {code} (HTTP {status})")
