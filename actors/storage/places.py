"""Which places a manifest may name: whoever writes one does not thereby read this machine's files
or its private network.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from actors.storage.uris import S3_SCHEMES, display_uri, local_path, scheme_of
from schemas.errors import PlaceNotAllowedError

if TYPE_CHECKING:
    import aiohttp

WEB_SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}


class PrivateAddressError(OSError):
    """A web server is not one that the whole internet can reach."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a video may be.

    S3 and web servers always; that the latter are public shows when they are reached, see
    :func:`guarded_session`.

    Args:
        folders: local ones, as absolute paths: those of the inputs.
        opened: what ``storage.places`` adds.
    """

    folders: tuple[str, ...]
    opened: tuple[str, ...]

    def check(self, uri: str) -> None:
        """Raise PlaceNotAllowedError unless ``uri`` is in such a place."""
        path = local_path(uri)
        if path is not None:
            path = os.path.abspath(path)
            is_allowed = any(_is_in(path, each) for each in (*self.folders, *self.opened))
        else:
            is_allowed = scheme_of(uri) in (*S3_SCHEMES, *WEB_SCHEMES) or any(
                uri.startswith(each) if each.endswith("://") else _is_in(uri, each)
                for each in self.opened
            )
        if not is_allowed:
            raise refused(display_uri(uri))


def refused(shown: str) -> PlaceNotAllowedError:
    """The error for a place that is not allowed, by its address as messages show it."""
    return PlaceNotAllowedError(
        f"{shown} is not in a place that inputs may name: S3, public web servers and the inputs' "
        "own folders; storage.places opens more"
    )


def _is_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


async def guarded_session(opened: tuple[str, ...], **arguments: Any) -> aiohttp.ClientSession:
    """A session that connects to public addresses only, whatever a name resolves to and wherever
    an answer redirects to, and to the web servers among ``opened``.

    Args:
        opened: ``storage.places``.
        arguments: of ``aiohttp.ClientSession``.
    """
    import aiohttp

    connector = aiohttp.TCPConnector(socket_factory=partial(_open_socket, opened))
    return aiohttp.ClientSession(connector=connector, **arguments)


def _open_socket(opened: Iterable[str], target: tuple[Any, ...]) -> socket.socket:
    """Open a socket for an address, in the form of ``socket.getaddrinfo``."""
    family, kind, protocol, _, address = target
    if not _is_public(address[0]) and tuple(address[:2]) not in _addresses(opened):
        raise PrivateAddressError("the address is not public")
    return socket.socket(family, kind, protocol)


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_global and not found.is_multicast


def _addresses(places: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Address and port of the web servers among ``places``."""
    for parts in map(urlsplit, places):
        if parts.scheme in WEB_SCHEMES and parts.hostname:
            port = parts.port or _PORTS[parts.scheme]
            for found in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM):
                yield str(found[4][0]), port
