"""The one client of S3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem

from actors.storage.client import Client, Head, StoredObject
from actors.storage.errors import explained, service_answer
from actors.storage.uris import S3Address
from schemas.errors import NotFoundError, OpenError, ReplacedError
from schemas.media import StorageOptions

_PAGE_KEYS = 1000
"""What S3 returns at most."""

_CONNECTIONS = 16

_CONNECT_SEC = 10.0


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object of a listing.

    Attributes:
        key: its key.
        size: in bytes.
        modified: by S3's clock, in seconds since 1970.
        version: its ETag without quotes, None without one.
    """

    key: str
    size: int
    modified: float
    version: str | None


@lru_cache(maxsize=8)
def s3_client(options: StorageOptions) -> S3Client:
    """The client of this process. Credentials come by the standard AWS chain."""
    return S3Client("s3", options)


class S3Client(Client):
    """S3: reads by range, pages of listings, whole objects written at once.

    Keys are taken as they are, whereas the driver's own paths read ``?versionId=`` as a
    version.
    """

    def objects(self, prefix: S3Address) -> Iterator[S3Object]:
        """All objects whose keys begin with the prefix, a page at a time, in S3's order.

        "Folders" that consoles make (empty objects whose key ends in a slash) are left out.
        """
        token: str | None = None
        seen: set[int] = set()
        while True:
            page = self._request(str(prefix), partial(self._page, prefix, token))
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):
                    yield S3Object(
                        entry["Key"],
                        entry["Size"],
                        entry["LastModified"].timestamp(),
                        _version(entry),
                    )
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or token is None:
                return
            if hash(token) in seen:
                raise OpenError(f"the listing of {prefix} does not end: its pages repeat")
            seen.add(hash(token))

    def below(self, uri: str) -> list[StoredObject]:
        """All objects below a "folder"."""
        at = S3Address.parse(f"{uri}/")
        return [
            StoredObject(
                str(S3Address(at.bucket, each.key)), each.size, each.modified, each.version
            )
            for each in self.objects(at)
        ]

    def abort_uploads(self, prefix: str) -> None:
        """End the uploads in parts below a prefix that nobody completed, a thousand at most."""
        at = S3Address.parse(prefix)
        listing = partial(
            self.filesystem._call_s3, "list_multipart_uploads", Bucket=at.bucket, Prefix=at.key
        )
        for upload in self._request(prefix, listing).get("Uploads", ()):
            one = S3Address(at.bucket, upload["Key"])
            abort = partial(self._call, "abort_multipart_upload", one, UploadId=upload["UploadId"])
            with contextlib.suppress(NotFoundError):  # completed in this moment
                self._request(str(one), abort)

    async def _page(self, prefix: S3Address, token: str | None) -> dict[str, Any]:
        given = {} if token is None else {"ContinuationToken": token}
        answer: dict[str, Any] = await self.filesystem._call_s3(
            "list_objects_v2",
            Bucket=prefix.bucket,
            Prefix=prefix.key,
            MaxKeys=_PAGE_KEYS,
            **given,
        )
        return answer

    # ---- how S3 does it

    @cached_property
    def filesystem(self) -> AsyncFileSystem:
        """s3fs, without its own retries, caches and time limits."""
        options = self.options
        filesystem = fsspec.filesystem(
            "s3",
            anon=options.anonymous,
            endpoint_url=options.endpoint_url,
            client_kwargs={"region_name": options.region} if options.region else None,
            config_kwargs={
                "retries": {"mode": "standard", "total_max_attempts": 1},
                "connect_timeout": min(_CONNECT_SEC, options.timeout_sec),
                "read_timeout": options.timeout_sec,
                "max_pool_connections": _CONNECTIONS,
            },
            use_listings_cache=False,
            # fsspec keeps one instance for each thread that asks; this client is for all.
            skip_instance_cache=True,
        )
        filesystem.retries = 1
        return filesystem

    def _path(self, uri: str) -> str:
        at = S3Address.parse(uri)
        return f"{at.bucket}/{at.key}"

    async def _call(self, method: str, at: S3Address, **more: Any) -> Any:
        return await self.filesystem._call_s3(method, Bucket=at.bucket, Key=at.key, **more)

    async def _head(self, uri: str) -> Head:
        at = S3Address.parse(uri)
        if not at.key:
            raise NotFoundError(f"{at} is a bucket, not an object")
        try:
            answer = await self._call("head_object", at)
        except Exception as error:
            told = service_answer(error)
            if told is not None and told[1] in (400, 403):
                # The answer to a HEAD request has no body, and so no reason: a GET has one.
                await self._get(uri, 0, 1)
            raise
        return Head(int(answer["ContentLength"]), _version(answer))

    async def _delete(self, uri: str) -> None:
        await self._call("delete_object", S3Address.parse(uri))

    async def _whole(self, uri: str) -> bytes:
        """By a range, which shows whether all of it came; anew where another object took its place
        meanwhile.
        """
        while True:
            size, version = await self._head(uri)
            try:
                return await self._range(uri, 0, size, version) if size else b""
            except Exception as error:
                if not isinstance(explained(error, ""), ReplacedError):
                    raise

    async def _get(self, uri: str, start: int, stop: int, version: str | None = None) -> bytes:
        given = {} if version is None else {"IfMatch": f'"{version}"'}
        answer = await self._call(
            "get_object", S3Address.parse(uri), Range=f"bytes={start}-{stop - 1}", **given
        )
        async with answer["Body"] as body:
            return bytes(await body.read())


def _version(described: dict[str, Any]) -> str | None:
    etag: str = described.get("ETag", "")
    return etag.strip('"') or None
