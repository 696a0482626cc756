"""Where a video is cut: PySceneDetect's adaptive detector, fed with the decoder's frames.

It compares a frame's change with the changes around it, so that motion, dissolves and fades, which
change every frame, are no cuts. It runs over each stretch in which every frame is there; between
stretches nothing changes.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scenedetect import AdaptiveDetector, FrameTimecode

from actors.decoding.changes import difference
from schemas.splitting import CutConfig

Image = npt.NDArray[np.uint8]

_RATE = 25.0
"""The detector counts frames, and wants a rate to do so. Their times are kept here."""


class Cut(NamedTuple):
    """A cut: the time of the first frame behind it, in seconds, and how much that differs from the
    one before, from 0 to 1.
    """

    time: float
    score: float


class CutFinder:
    """Finds cuts in frames that come one by one.

    Args:
        config: when a frame is one behind a cut.
        rate: frames per second of the video.

    Attributes:
        cuts: those found so far.
    """

    def __init__(self, config: CutConfig, rate: float) -> None:
        self._config = config
        self._step = 1.5 / rate if rate > 0 else 0.0
        self._detector: AdaptiveDetector | None = None
        self._fed: list[Cut] = []
        self._last: tuple[float, Image] | None = None
        self.cuts: list[Cut] = []

    def add(self, time: float, image: Image) -> None:
        """Look at a frame, RGB of shape (H, W, 3).

        Frames that are not there between two that are given differ no more than these two do.
        """
        if self._last is not None:
            before, other = self._last
            change = difference(other, image)
            if time - before > self._step and change <= self._config.change:
                self.finish()
            else:
                if self._detector is None:
                    self._begin(before, other)
                self._feed(Cut(time, change / 255), image)
        self._last = time, image

    def finish(self) -> None:
        """End the stretch: it can have a cut in its very last frames."""
        if self._detector is not None and self._last is not None:
            for _ in range(self._detector.window_width):
                self._feed(Cut(self._last[0], 0.0), self._last[1])
        self._detector = None

    def _begin(self, time: float, image: Image) -> None:
        self._fed = []
        self._detector = AdaptiveDetector(
            adaptive_threshold=self._config.ratio,
            min_content_val=self._config.content,
            min_scene_len=0,
        )
        for _ in range(1 + self._detector.window_width):
            self._feed(Cut(time, 0.0), image)

    def _feed(self, frame: Cut, image: Image) -> None:
        assert self._detector is not None
        number = FrameTimecode(len(self._fed), _RATE)
        self._fed.append(frame)
        for found in self._detector.process_frame(number, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
            self.cuts.append(self._fed[found.frame_num])
