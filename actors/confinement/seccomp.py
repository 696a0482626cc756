"""A filter of system calls that lets through what decoding needs and nothing else.

A process under it computes, waits, and reads and writes the pipes that it has. It opens no file,
makes no socket and no process, and signals nobody but itself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import NamedTuple

from actors.confinement.calls import call


class _Machine(NamedTuple):
    """An architecture: its mark in the filter's data (``AUDIT_ARCH_*``), and its column below."""

    mark: int
    column: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}

_ALLOWED = {
    # The descriptors that it has.
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "lseek": (8, 62), "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    # Memory.
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "madvise": (28, 233), "brk": (12, 214), "msync": (26, 227), "mincore": (27, 232),
    "mlock": (149, 228), "munlock": (150, 229), "membarrier": (324, 283),
    "mbind": (237, 235), "get_mempolicy": (239, 236), "set_mempolicy": (238, 237),
    # Its own threads and signals.
    "exit": (60, 93), "exit_group": (231, 94), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "futex": (202, 98),
    "futex_waitv": (449, 449), "futex_wake": (454, 454), "futex_wait": (455, 455),
    "futex_requeue": (456, 456), "set_robust_list": (273, 99), "get_robust_list": (274, 100),
    "set_tid_address": (218, 96), "rseq": (334, 293), "arch_prctl": (158, None),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    # What time it is, and who it is.
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getrusage": (98, 165), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "uname": (63, 160), "sysinfo": (99, 179), "getrandom": (318, 278),
}  # fmt: skip
"""Name -> its number on x86-64 and on ARM64."""

_ENDS_IT = {
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "mount": (165, 40),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "io_uring_setup": (425, 425),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "keyctl": (250, 219), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
}  # fmt: skip
"""No library asks for these by itself: whoever does has taken the process over."""

_TGKILL, _PRLIMIT64, _CLONE, _FCNTL = (234, 131), (302, 261), (56, 220), (72, 25)
_CLONE_THREAD = 0x00010000
_F_SETFL = 4
"""``fcntl`` up to here reads and sets flags; beyond are locks, and whom to signal."""

_FIRST_NEWER = 424
"""From here on numbers are the same everywhere, and libraries try older calls where a newer one
does not exist (``clone3``, whose arguments a filter cannot see)."""

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _ABOVE, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_STEP = struct.Struct("=HBBI")
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_SECCOMP = (317, 277)
_SET_MODE_FILTER = 1
_ALL_THREADS, _SPECULATION_ALLOWED = 1 << 0, 1 << 2


def restrict() -> None:
    """Put the filter on all threads of this process, for good.

    Raises:
        OSError: the kernel refuses, or there is no filter for this machine.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(errno.ENOSYS, f"no filter for {platform.machine()}")
    code = _filter(machine, own_pid=os.getpid())
    # Older kernels slow a filtered process down unless told otherwise; no secrets are in it.
    flags = _ALL_THREADS | _SPECULATION_ALLOWED
    # struct sock_fprog: how many instructions, and where they are.
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // _STEP.size, ctypes.addressof(buffer))
    thread = call("syscall", _SECCOMP[machine.column], _SET_MODE_FILTER, flags, program)
    if thread:
        raise OSError(errno.EBUSY, f"thread {thread} has a filter of its own")


def _filter(machine: _Machine, *, own_pid: int) -> bytes:
    """The filter in classic BPF (``linux/filter.h``, ``struct seccomp_data``)."""
    code = [
        _step(_LOAD, _ARCH_AT),
        _step(_EQUAL, machine.mark, skip_if=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
    ]
    for table, answer in ((_ALLOWED, _ALLOW), (_ENDS_IT, _KILL)):
        for numbers in table.values():
            number = numbers[machine.column]
            if number is not None:
                code += [_step(_EQUAL, number, skip_if_not=1), _step(_RETURN, answer)]
    denied = _step(_RETURN, _ERRNO | errno.EPERM)
    for numbers, argument, test, value, is_allowed in (
        (_TGKILL, 0, _EQUAL, own_pid, True),
        (_PRLIMIT64, 0, _EQUAL, 0, True),
        (_CLONE, 0, _HAS_BIT, _CLONE_THREAD, True),
        (_FCNTL, 1, _ABOVE, _F_SETFL, False),
    ):
        code += [
            _step(_EQUAL, numbers[machine.column], skip_if_not=4),
            _step(_LOAD, _ARGUMENTS_AT + 8 * argument),
            _step(test, value, skip_if_not=int(is_allowed), skip_if=int(not is_allowed)),
            _step(_RETURN, _ALLOW),
            denied,
        ]
    code += [
        _step(_AT_LEAST, _FIRST_NEWER, skip_if_not=1),
        _step(_RETURN, _ERRNO | errno.ENOSYS),
        denied,
    ]
    return b"".join(code)


def _step(code: int, value: int, *, skip_if: int = 0, skip_if_not: int = 0) -> bytes:
    """An instruction; a test skips so many of the next ones."""
    return _STEP.pack(code, skip_if, skip_if_not, value)
