"""Landlock: no path at all, no TCP, nobody to signal (``linux/landlock.h``)."""

from __future__ import annotations

import os
import struct

from actors.confinement.calls import call

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
"""The same numbers on every architecture."""

_VERSION = 1
_FILES_BY_ABI = (13, 14, 15, 15, 16)
"""How many kinds of access to files there are; the last counts for newer versions too."""
_NETWORK, _NETWORK_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6


def restrict() -> None:
    """Take this thread, and those that it starts, away from all files that are not open yet.

    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    abi = call("syscall", _CREATE_RULESET, None, 0, _VERSION)
    files = (1 << _FILES_BY_ABI[min(abi, len(_FILES_BY_ABI)) - 1]) - 1
    network = _NETWORK if abi >= _NETWORK_SINCE else 0
    scopes = _SCOPES if abi >= _SCOPES_SINCE else 0
    # A kernel takes a longer structure than it knows, as long as the rest of it is zero.
    handled = struct.pack("=QQQ", files, network, scopes)
    ruleset = call("syscall", _CREATE_RULESET, handled, len(handled), 0)
    try:
        call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
