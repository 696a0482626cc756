"""How busy a GPU is, as its driver tells: the share of time in which a kernel ran."""

from __future__ import annotations

import subprocess
import threading
import time
from types import TracebackType

_EVERY_MS = 500


class BusyGpu:
    """Asks the driver twice a second; knows nothing where there is no GPU.

    Attributes:
        name: of the first GPU; None where there is none.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._asked: subprocess.Popen[str] | None = None
        self._samples: list[tuple[float, float]] = []

    def __enter__(self) -> BusyGpu:
        query = ["nvidia-smi", "--query-gpu=name,utilization.gpu", "--format=csv,noheader,nounits"]
        try:
            self._asked = subprocess.Popen(
                [*query, "-i", "0", "-lms", str(_EVERY_MS)], stdout=subprocess.PIPE, text=True
            )
        except FileNotFoundError:
            return self
        threading.Thread(target=self._read, args=(self._asked,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._asked is not None:
            self._asked.kill()
            self._asked.wait()

    def _read(self, asked: subprocess.Popen[str]) -> None:
        assert asked.stdout is not None
        for line in asked.stdout:
            self.name, percent = line.rsplit(", ", 1)
            self._samples.append((time.monotonic(), float(percent) / 100))

    def since(self, moment: float) -> float | None:
        """Mean share since a moment of ``time.monotonic``; None where nothing is known."""
        shares = [share for at, share in self._samples if at >= moment]
        return sum(shares) / len(shares) if shares else None
