"""Frames compressed one by one: an hour of video at one frame a second is 40 to 360 megabytes.

JPEG at high quality and full colour resolution: a captioning model sees no difference, and any
frame can be unpacked without the ones before it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

_QUALITY = 92


@dataclass(frozen=True, kw_only=True)
class FramePack:
    """Frames of one size, each compressed for itself, so that any of them can be had alone.

    Attributes:
        data: uint8, shape (N,): JPEG images one after the other.
        offsets: int64, shape (T + 1,): where each begins in ``data``, and where the last ends.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def jpeg(self, index: int) -> memoryview:
        """The image of one frame, compressed."""
        return self.data[self.offsets[index] : self.offsets[index + 1]].data

    def images(self, indices: Iterable[int]) -> npt.NDArray[np.uint8]:
        """Some of the frames, uint8 RGB, shape (n, H, W, 3)."""
        images = [np.asarray(Image.open(io.BytesIO(self.jpeg(index)))) for index in indices]
        return np.stack(images) if images else np.empty((0, 0, 0, 3), dtype=np.uint8)


class FramePacker:
    """Collects images of one size."""

    def __init__(self) -> None:
        # One buffer that grows: images kept apart would be there twice when they are joined.
        self._data = bytearray()
        self._offsets = [0]

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Take an image, uint8 RGB of shape (H, W, 3)."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
        self._append(buffer.getbuffer())

    def repeat(self) -> None:
        """Take the last image once more."""
        self._append(bytes(self._data[self._offsets[-2] :]))

    def _append(self, image: bytes | memoryview) -> None:
        self._data += image
        self._offsets.append(len(self._data))

    def pack(self) -> FramePack:
        """All images so far; nothing can be added afterwards."""
        return FramePack(
            data=np.frombuffer(self._data, dtype=np.uint8),
            offsets=np.array(self._offsets, dtype=np.int64),
        )
