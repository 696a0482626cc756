"""Addresses: which are local, where on S3 an object is, and what of them may be shown."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple, Self
from urllib.parse import unquote

from schemas.errors import OpenError

S3_SCHEMES = ("s3", "s3a")
LOCAL_SCHEMES = ("", "file", "local")
OBJECT_SCHEMES = ("gs", "az")
"""Google Cloud Storage and Azure: as S3, an output may be there."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>\\]+")

_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d*)?")
"""Host and port; a user's name and password are neither, wherever the sign is that ends them."""

_LINK = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""Between the addresses of a chain: ``zip://a.mp4::https://host/b.zip``."""

_WITHOUT_QUERY = {"", "file", "local", *S3_SCHEMES, *OBJECT_SCHEMES, "gcs"}
"""Schemes whose names may hold a question mark."""

_SIGNATURE = re.compile(
    r"x-(?:amz|goog|oss|obs)-.*|x-cos-security-token"  # S3, Google Cloud, Alibaba, Huawei, Tencent
    r"|q-(?:sign-algorithm|ak|sign-time|key-time|header-list|url-param-list|signature)"
    r"|(?:aws|google|oss)access(?:key)?id|key-pair-id|signature|sig"
    r"|hdne?a|hdnts|hdntl|__token__|__gda__|edge-cache-token"  # Akamai, Google's Media CDN
    r"|(?:access_|auth_|id_)?token|auth_key|jwt"
)
"""Names of parameters that only say that an address may be used, and until when."""

_BESIDE_A_SIGNATURE = re.compile(
    r"expires|expiry|policy|hash-algorithm|security-token|x-id|keyname|urlprefix|token_.*"
)

_BESIDE_SIG = re.compile(
    r"sv|ss|srt|sr|sp|se|st|spr|sip|si|sdd|ses|scid|saoid|suoid|sduoid|skoid|sktid|skt|ske|sks|skv"
)
"""Of a shared access signature of Azure."""

_HARMLESS = {
    "clip", "end", "episode", "file", "filename", "format", "fps", "height", "id", "index", "lang",
    "list", "name", "page", "part", "path", "quality", "season", "start", "t", "v", "version",
    "versionid", "video", "video_id", "width",
}  # fmt: skip
"""Parameters that tell which video is meant. Any other may be a secret too."""

_LONGEST_HARMLESS = 100

_SECRETIVE = re.compile(r"://|[?=@]|^eyJ|^(?:bearer|basic)\b", re.IGNORECASE)
"""What no name of a video holds: another address with its own parameters, a token that says so."""
_TIME = r"(?:[-+]?[0-9][0-9:.e+-]*|[-+]?(?:nan|inf(?:inity)?)|\?[^#/,]*)?"

_SEGMENT = re.compile(rf"#t=(?:npt:)?{_TIME}(?:,{_TIME})?\Z", re.IGNORECASE)
"""A span of time as the W3C writes it at the end of an address; see
:mod:`actors.storage.segments`."""

_INSIDE = re.compile(
    r"((?:tar|zip|parquet)://.*)::((?:[a-z][a-z0-9+.-]*://|/).*|[^:]+)", re.IGNORECASE | re.DOTALL
)
"""A place inside a file, as fsspec chains addresses."""

_EXTENT = re.compile(r"#at=[^#]*\Z")
"""Where in the file it is, for this run; see :mod:`actors.storage.archives`."""

_WEB_SEGMENT = re.compile(r"#t=[^#]*\Z", re.IGNORECASE)

_HASHED = re.compile(r"~[0-9a-f]{16}")

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


def split_segment(uri: str) -> tuple[str, str]:
    """The address of a file, and the span of it that is meant: ``#t=...``, "" for all of it."""
    # On the web # begins a fragment; elsewhere it may be part of a name.
    on_web = scheme_of(split_inside(uri)[1]) in ("http", "https")
    pattern = _WEB_SEGMENT if on_web else _SEGMENT
    found = pattern.search(uri)
    return (uri, "") if found is None else (uri[: found.start()], found[0])


def split_inside(uri: str) -> tuple[str, str]:
    """A place inside a file, "" for none, and the address of that file.

    ``zip://a/b.mp4::s3://bucket/c.zip`` -> (``zip://a/b.mp4``, ``s3://bucket/c.zip``).
    """
    found = _INSIDE.fullmatch(uri)
    return ("", uri) if found is None else (found[1], found[2])


def split_extent(uri: str) -> tuple[str, str]:
    """An address, and ``#at=...`` behind it, "" for none."""
    found = _EXTENT.search(uri) if split_inside(uri)[0] else None
    return (uri, "") if found is None else (uri[: found.start()], found[0])


def file_of(uri: str) -> str:
    """The address of the file that a segment or a place inside is of."""
    return split_inside(split_extent(split_segment(uri)[0])[0])[1]


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
    """Return ``uri`` without user, password, parameters and fragment: fit for messages."""
    inside, file = split_inside(split_extent(uri)[0])
    if inside:
        return f"{inside}::{display_uri(file)}"
    if "://" not in uri:
        return uri
    scheme, rest = uri.split("://", 1)
    if scheme.lower() in _WITHOUT_QUERY:
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rsplit('@', 1)[-1]}{slash}{path}"
    rest, *links = _LINK.split(rest)
    host, *parts = re.split(r"[?#]", _without_user(rest), maxsplit=1)[0].split("/")
    bare = [part.partition(";")[0] if "=" in part else part for part in parts]
    place = "/".join([host, *(part for part in bare if not _signs(part))])
    return "::".join([f"{scheme}://{place}", *map(display_uri, links)])


def _without_user(rest: str) -> str:
    """What stands behind ``scheme://``, also where a password ends its place before its time."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return rest[authority.rindex("@") + 1 :]
    if _AUTHORITY.fullmatch(authority):
        return rest
    return rest.rpartition("@")[2] if "@" in rest else authority.partition(":")[0]


def _signs(part: str) -> bool:
    """Whether a part of a path is a signature, as content networks put them there."""
    names = (each.partition("=")[0].lower() for each in re.split("[~&]", part) if "=" in each)
    return any(name == "hmac" or _SIGNATURE.fullmatch(name) for name in names)


def public_uri(uri: str) -> str:
    """Return ``uri`` fit for tables, the same for an address that is signed anew.

    Of a web address user, password, any fragment but a segment's, and the parameters of a signature
    are left out, and of the others a value that could be a secret is replaced by its hash. What is
    left says which input this is; it is its own public form.
    """
    uri, segment = split_segment(uri)
    inside, file = split_inside(split_extent(uri)[0])
    if inside:
        return f"{inside}::{public_uri(file)}{segment}"
    if scheme_of(uri) in _WITHOUT_QUERY:
        return display_uri(uri) + segment
    place, _, query = _without_user(uri.partition("://")[2]).partition("#")[0].partition("?")
    of_path = [each for part in place.split("/") if "=" in part for each in part.split(";")[1:]]
    named = [
        (unquote(each.partition("=")[0]).lower(), each)
        for each in [*of_path, *re.split("[&;]", query)]
        if each
    ]
    names = {name for name, _ in named}
    unsigned = [_SIGNATURE]
    if any(map(_SIGNATURE.fullmatch, names)):
        unsigned.append(_BESIDE_A_SIGNATURE)
    if {"sig", "sv"} <= names:
        unsigned.append(_BESIDE_SIG)
    kept = [
        each if name in _HARMLESS and not _is_secretive(each) else _hashed(each)
        for name, each in named
        if not any(pattern.fullmatch(name) for pattern in unsigned)
    ]
    return "?".join(filter(None, [display_uri(uri), "&".join(kept)])) + segment


def public_text(text: str) -> str:
    """Return a text with each address in it as :func:`public_uri` has it."""
    return _ADDRESS.sub(lambda found: public_uri(found[0]), text)


def _is_secretive(parameter: str) -> bool:
    value = unquote(unquote(parameter.partition("=")[2])).replace("+", " ")
    return len(value) > _LONGEST_HARMLESS or _SECRETIVE.search(value) is not None


def _hashed(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if not equals:
        name, value = "", name
    if _HASHED.fullmatch(value) or not value:
        return parameter
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{name}{equals}~{digest}"


def without_secrets(text: str) -> str:
    """Return a message without users, passwords and parameters of addresses, also where only the
    end of one is told.
    """
    text = _ADDRESS.sub(lambda found: re.split(r"[?#]", display_uri(found[0]))[0], text)
    return re.sub(r"\?[\w%.~\[\]-]+=[^\s'\"]*", "", text)
