"""A child process that decodes, so that a hostile file costs one row and never an actor.

The parent opens the file, with its credentials and its network, and hands over the bytes that the
child asks for, in memory that both see; the child has neither.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

from actors.confinement.process import DecodingProcess
from actors.decoding.reading import ReadingCosts
from actors.storage.access import StoredFile, open_file
from actors.storage.segments import segment_of
from actors.storage.uris import split_segment
from schemas.budget import Budget
from schemas.errors import SegmentError
from schemas.media import WHOLE, DecodeLimits, SamplingPlan, Segment, StorageOptions

T = TypeVar("T")


class DecodeSandbox(contextlib.AbstractContextManager["DecodeSandbox"]):
    """Decode in a persistent child process, which is replaced when it dies or hangs.

    Not thread-safe; one per actor.

    Args:
        limits: wall time, memory, pixels and duration per video.
        storage: how to reach the storage.
        budget: what the model can be shown of a video; None where no model is to see it.
    """

    def __init__(
        self, limits: DecodeLimits, storage: StorageOptions, budget: Budget | None = None
    ) -> None:
        self._limits = limits
        self._budget = budget
        self._storage = storage
        self._child: DecodingProcess | None = None
        self._kept: tuple[str, StoredFile] | None = None

    def layers(self) -> dict[str, str]:
        """For each of ``actors.confinement.layers.LAYERS``, "" where the child is confined by it,
        else why it is not.

        Raises:
            DecoderFaultError: the child does not start.
        """
        return self._ready().layers

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child is not None else None

    def decode(self, uri: str, plan: SamplingPlan) -> pa.RecordBatch:
        """Decode what ``plan`` wants of the video at ``uri``, or of the segment that it names.

        Between two segments of one file, the file stays open.

        Returns:
            One row of ``schemas.blocks.VIDEO``, checked; ``schemas.blocks.video_of`` reads it.

        Raises:
            VideoError: whatever :func:`actors.storage.segments.segment_of`,
                :func:`actors.storage.access.open_file` and the decoder raise.
            StorageUnavailableError: it took longer than ``limits.wall_seconds``, most of it
                waiting for the storage.
            DecodeTimeoutError: it took longer than that for another reason.
            DecoderCrashedError: the child died, or passed ``limits.memory_mb``.
            DecoderFaultError: an error that nobody foresaw, or an answer that makes no sense.
        """
        return self._asked(
            uri,
            lambda child, file, segment, deadline, again: child.decode(
                file, plan, segment, deadline, again=again
            ),
        )

    def clip(self, uri: str, most_bytes: int) -> bytes:
        """Cut the video at ``uri``, or the segment that it names, out as the bytes of an MP4 file:
        see :func:`actors.clipping.cut.cut`. The file stays open as in :meth:`decode`.

        Raises:
            MediaLimitError: it takes more than ``most_bytes``.
            VideoError, DecoderFaultError: as :meth:`decode`.
        """
        return self._asked(
            uri,
            lambda child, file, segment, deadline, again: child.clip(
                file, most_bytes, segment, deadline, again=again
            ),
        )

    def _asked(
        self,
        uri: str,
        ask: Callable[[DecodingProcess, StoredFile, Segment, float, bool], T],
    ) -> T:
        """Ask the child for something of a file.

        Args:
            ask: is given the child, the file, the segment, until when it must be done, and whether
                the child still has the file open.
        """
        address, segment = split_segment(uri)[0], segment_of(uri) or WHOLE
        child = self._ready()
        again = segment != WHOLE and self._kept is not None and self._kept[0] == address
        deadline = time.monotonic() + self._limits.wall_seconds
        if not again:
            self._forget()
            file = open_file(address, self._storage, deadline=deadline)
            self._kept = address, file
        assert self._kept is not None
        file, keep = self._kept[1], False
        file.deadline = deadline
        try:
            result = ask(child, file, segment, deadline, again)
            keep = segment != WHOLE
            return result
        except SegmentError:
            keep = True
            raise
        finally:
            if not keep:
                self._forget()
            if not child.idle:
                self.close()

    def _forget(self) -> None:
        """Close the file that was kept; the child does the same."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None

    def _ready(self) -> DecodingProcess:
        if self._child is None or not self._child.ready():
            self.close()
            self._child = DecodingProcess(
                self._limits, ReadingCosts.of(self._storage), self._budget
            )
        return self._child

    def close(self) -> None:
        """End the child process."""
        self._forget()
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __exit__(self, *_: object) -> None:
        """End the child process."""
        self.close()

    def __del__(self) -> None:
        """End the child process of a sandbox that nobody closed."""
        with contextlib.suppress(Exception):
            self.close()
