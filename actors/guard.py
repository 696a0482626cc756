"""A small process that acts when the one that started it is gone or stands still.

A replica that is killed leaves vLLM's own processes behind with the model in memory, unless Ray's
raylet is there to clean up; one that is stopped, or whose event loop stands still, does not end at
all. A driver can be ended without a word, by the system or by Ray itself. None of that can be
seen to from inside, so this file runs as a script outside.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

_ROUND_SECONDS = 1.0
_GOODBYE = b"q"


class Guard:
    """Watches the calling process.

    Without ``last_words`` the process group of the caller, which holds all that it starts from
    now on, is killed when the caller is gone, however it went, or silent.

    Args:
        patience: seconds without a :meth:`beat`, after the first one, that count as silence.
        last_words: what is said on stderr if the caller is gone and nobody called
            :meth:`dismiss`; nothing is killed then.
    """

    def __init__(self, *, patience: float = math.inf, last_words: str = "") -> None:
        if not last_words and os.getpgrp() != os.getpid():
            # Ray gives each worker a group of its own; anywhere else it is made here.
            os.setpgid(0, 0)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(patience), last_words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        self._orders = self._process.stdin.fileno()
        os.set_blocking(self._orders, False)

    def beat(self) -> None:
        """Give a sign of life."""
        self._send(b".")

    def dismiss(self) -> None:
        """End the watch: the caller goes on, or ends in order."""
        self._send(_GOODBYE)
        self._process.wait()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch."""
        self.dismiss()

    def _send(self, order: bytes) -> None:
        # A full pipe has signs enough; without a guard there is nobody to tell.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._orders, order)


def _watch(parent: int, patience: float) -> bool:
    """Wait until the parent is gone or silent, or takes leave; return whether it took leave."""
    orders = select.poll()
    orders.register(0, select.POLLIN)
    has_begun, silent = False, 0.0
    while os.getppid() == parent:
        # Rounds are counted, and not time: after a suspended machine wakes up, nobody was silent.
        if not orders.poll(1000 * _ROUND_SECONDS):
            silent += _ROUND_SECONDS * has_begun
            if silent >= patience:
                print(f"process {parent} stood still for {silent:.0f} s", file=sys.stderr)
                return False
            continue
        heard = os.read(0, 4096)
        if _GOODBYE in heard:
            return True
        if not heard:
            return False  # nobody holds the pipe any more
        has_begun, silent = True, 0.0
    return False


def main(arguments: Sequence[str]) -> None:
    """Watch, then act. Arguments: the parent's process id, patience, last words or ''."""
    # Whatever is sent to all processes of a machine that shuts down, this one ends last.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent, patience, last_words = int(arguments[0]), float(arguments[1]), arguments[2]
    if _watch(parent, patience):
        return
    if last_words:
        print(last_words, file=sys.stderr, flush=True)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(parent, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
