"""Addresses: which are local, where on S3 an object is, and what of them may be shown."""

from __future__ import annotations

import re
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from schemas.errors import OpenError

S3_SCHEMES = ("s3", "s3a")

_SAFE_PARAMETERS = {
    "end", "format", "fps", "height", "id", "index", "lang", "list", "page", "quality", "start",
    "t", "v", "version", "versionid", "video", "video_id", "width",
}  # fmt: skip
"""Names in a query that tell which video, or which part of it. Any other may hold what opens the
file for whoever reads it: a signature, a token, the key of a share."""
_ADDRESS = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://\S+\s*")
_S3 = re.compile(
    r"s3a?://"
    r"(arn:[^/]*(?:outpost/[^/]+/)?accesspoint[/:][^/]+|[a-z0-9._-]{1,255})"
    r"(?:/(.*))?",
    re.IGNORECASE | re.DOTALL,
)


def scheme_of(uri: str) -> str:
    """The scheme in lower case; "" for a plain path."""
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else ""


def local_path(uri: str) -> str | None:
    """The path of a local file or folder, as it was written; None for an address elsewhere."""
    scheme, path = scheme_of(uri), uri.partition("://")[2]
    return {"": uri, "file": unquote(path), "local": path}.get(scheme)


class S3Address(NamedTuple):
    """A bucket (or the ARN of an access point) and a key, or the beginning of a key."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Take ``s3://bucket/key`` apart; the key is as it stands there, whatever signs it has.

        Raises:
            OpenError: there is no bucket in it.
        """
        match = _S3.fullmatch(uri)
        if match is None:
            raise OpenError(f"{display_uri(uri)} names no bucket; write s3://bucket/key")
        return cls(match[1], match[2] or "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def display_uri(uri: str) -> str:
    """Return ``uri`` without user, password, query and fragment: fit for messages."""
    if "://" not in uri:
        return uri
    scheme, rest = uri.split("://", 1)
    if scheme not in ("file", "local", "s3", "s3a", "gs", "gcs"):
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rsplit('@', 1)[-1]}{slash}{path}"


def public_uri(uri: str) -> str:
    """Return ``uri`` fit for tables: :func:`display_uri`, with the query of a web address where
    none of its parameters could be a secret.
    """
    query = urlsplit(uri).query if uri.startswith(("http://", "https://")) else ""
    names = {part.partition("=")[0].lower() for part in re.split("[&;]", query)}
    bare = display_uri(uri)
    return f"{bare}?{query}" if names <= _SAFE_PARAMETERS else bare


def public_text(text: str) -> str:
    """Return a text as it is, or as :func:`public_uri` where all of it is an address."""
    return public_uri(text) if _ADDRESS.fullmatch(text) else text


def without_secrets(text: str) -> str:
    """Return a message without the queries and the user names of the addresses in it."""
    text = re.sub(r"(\w+://[^\s?'\"]+)\?[^\s'\"]*", r"\1", text)
    return re.sub(r"(\w+://)[^\s/@'\"]+@", r"\1", text)
