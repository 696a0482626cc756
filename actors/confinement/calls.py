"""Calling the C library where Python has no function for it."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call a function of the C library that tells of an error by -1.

    Args:
        function: its name, such as ``"prctl"``.
        arguments: numbers are passed as ``long``, bytes by their address.

    Raises:
        OSError: it failed.
    """
    passed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    function_of_c = getattr(_libc, function)
    function_of_c.restype = ctypes.c_long
    result: int = function_of_c(*passed)
    if ctypes.c_int(result).value == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
