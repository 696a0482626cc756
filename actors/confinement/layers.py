"""All locks that a process puts on itself, one after the other, as far as the kernel has them."""

from __future__ import annotations

import resource
import struct
from collections.abc import Callable

from actors.confinement import landlock, seccomp
from actors.confinement.calls import call

_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522

_MOST_THREADS = 256
_MOST_DESCRIPTORS = 64


def confine() -> dict[str, str]:
    """Give up all that decoding bytes which a parent hands over does not need, for good.

    The process must have a single thread and have imported all that it will use.

    Returns:
        for each layer of :data:`LAYERS`, "" where it is on, else why it is not.
    """
    return {name: _tried(lock) for name, lock in _LOCKS.items()}


def _tried(lock: Callable[[], None]) -> str:
    try:
        lock()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _leave_namespaces() -> None:
    """Be nobody among users, with no network and no shared memory of others."""
    call("unshare", _NEW_USER | _NEW_NETWORK | _NEW_IPC)
    # Here, as only processes of the same namespace of users count.
    resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_THREADS, _MOST_THREADS))


def _drop_privileges() -> None:
    """No capability, and none to be gained by running another program."""
    call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("capset", struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24))


def _limit() -> None:
    """No file grows, and few descriptors are open."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS),
    ):
        try:
            resource.setrlimit(kind, (most, most))
        except ValueError as error:
            raise OSError(str(error)) from None


_LOCKS: dict[str, Callable[[], None]] = {
    "limits": _limit,
    "namespaces": _leave_namespaces,
    "privileges": _drop_privileges,
    "landlock": landlock.restrict,
    "seccomp": seccomp.restrict,
}
"""In this order: each of the last three takes away what those before it need."""

LAYERS: dict[str, str] = {
    "limits": "no file grows, 64 open descriptors",
    "namespaces": "a user and a network of its own, with nothing in them",
    "privileges": "no capabilities, and none to be gained",
    "landlock": "no path can be opened, no TCP, no signals to others",
    "seccomp": "no system calls but those that decoding needs",
}
"""Name of each layer -> what it takes away."""
