"""Whether the driver makes progress, and its end where it cannot even see that it does not."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Self

_LOOK_SECONDS = 1.0
_LONGEST_TURN = 5.0


class Pulse:
    """Time since the driver's loop last turned, and since anything moved in the run.

    A context manager around that loop: meanwhile a thread ends the process with exit code 1, an
    error line and the stacks of all threads when the loop does not turn, such as in a call
    that never returns.

    Args:
        limit: seconds that one turn may take.
        before_exit: called before the process ends that way.
    """

    def __init__(self, *, limit: float, before_exit: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self._before_exit = before_exit
        self._is_watched = False
        self._turned = time.monotonic()
        self._marks: object = None
        self._still = 0.0
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._turned = time.monotonic()
        self._is_watched = True
        threading.Thread(target=self._watch, name="pulse", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_watched = False
        self._stop.set()

    def turn(self, marks: object) -> float:
        """Note a turn of the loop.

        Args:
            marks: anything that differs from the last turn's if the run has moved.

        Returns:
            seconds since it last moved; a turn counts for a few of them at most, so that a
            machine which was suspended did not stand still.
        """
        before, self._turned = self._turned, time.monotonic()
        if marks == self._marks:
            self._still += min(self._turned - before, _LONGEST_TURN)
        else:
            self._marks, self._still = marks, 0.0
        return self._still

    def is_beating(self) -> bool:
        """Whether the loop turns, or is not there to turn."""
        return not self._is_watched or time.monotonic() - self._turned <= self.limit

    def _watch(self) -> None:
        seen, still = self._turned, 0.0
        while not self._stop.wait(_LOOK_SECONDS):
            seen, still = self._turned, still + _LOOK_SECONDS if seen == self._turned else 0.0
            if still >= self.limit:
                self._before_exit()
                dump(())
                print(
                    f"error: the run stopped: its driver stood still for {still:.0f} s, where is "
                    "said above. What was captioned is kept; run the same command again to go on",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)


def dump(lines: Iterable[str]) -> None:
    """Say on stderr where everything stands: the lines, and the stacks of all threads."""
    print("where the run stands:", *lines, sep="\n  ", file=sys.stderr, flush=True)
    # What stands in for stderr may not be a file.
    with contextlib.suppress(ValueError, OSError, AttributeError):
        faulthandler.dump_traceback(sys.stderr)
