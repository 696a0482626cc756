"""Where a video is cut: PySceneDetect's adaptive detector, fed with the decoder's frames.

It compares a frame's change with the changes around it, so that motion, dissolves and fades, which
change every frame, are no cuts. It runs over each stretch in which every frame is there; between
stretches nothing changes. After a flash the picture is what it was before, so neither end of it is
a cut.
"""

from __future__ import annotations

from collections import deque
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

_COARSE = (80, 45)
"""Width and height at which frames are compared: fine patterns that move change every frame as a
cut does, and are gone here."""

RETURNS = 0.5
"""Share of the change at a cut below which a frame on the other side shows the same."""


_STANDS_OUT = 1.5
"""How many times the change at a cut is at least above each of those beside it."""


class Cut(NamedTuple):
    """A cut: the time of the first frame behind it, in seconds, and how much that differs from the
    one before, from 0 to 1.
    """

    time: float
    score: float


class _Fed(NamedTuple):
    """A frame that the detector was given, and how much it differs from the one before."""

    time: float
    change: float
    image: Image


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
        self._fed: deque[_Fed] = deque()
        self._forgotten = 0
        self._last: _Fed | None = None
        self._waiting: list[int] = []  # numbers of frames behind what may be a cut
        self.cuts: list[Cut] = []

    def add(self, time: float, image: Image) -> None:
        """Look at a frame, RGB of shape (H, W, 3).

        Frames that are not there between two that are given differ no more than these two do.
        """
        coarse = cv2.resize(image, _COARSE, interpolation=cv2.INTER_AREA).astype(np.uint8)
        before = self._last
        change = 0.0 if before is None else difference(before.image, coarse)
        self._last = _Fed(time, change, coarse)
        if before is None:
            return
        if time - before.time > self._step and change <= self._config.change:
            self.finish(before)
            return
        if self._detector is None:
            self._begin(before)
        self._feed(self._last)

    def finish(self, last: _Fed | None = None) -> None:
        """End a stretch: it may have a cut in its very last frames."""
        last = last or self._last
        if self._detector is not None and last is not None:
            for _ in range(self._detector.window_width):
                self._feed(last._replace(change=0.0))
            self._decide(until=np.inf)
        self._detector = None

    def _begin(self, first: _Fed) -> None:
        self._fed.clear()
        self._forgotten = 0
        self._detector = AdaptiveDetector(
            adaptive_threshold=self._config.ratio,
            min_content_val=self._config.content,
            min_scene_len=0,
        )
        for _ in range(1 + self._detector.window_width):
            self._feed(first._replace(change=0.0))

    def _feed(self, frame: _Fed) -> None:
        assert self._detector is not None
        number = FrameTimecode(len(self._fed) + self._forgotten, _RATE)
        self._fed.append(frame)
        picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        self._waiting += [
            found.frame_num for found in self._detector.process_frame(number, picture)
        ]
        self._decide(until=frame.time - self._config.flash_sec)
        oldest = frame.time - 3 * self._config.flash_sec
        while self._fed[0].time < oldest and len(self._fed) > 1 + 2 * self._detector.window_width:
            self._fed.popleft()
            self._forgotten += 1

    def _decide(self, *, until: float) -> None:
        """Take the cuts that are no flashes, among those behind which enough has been seen."""
        while self._waiting and self._at(self._waiting[0]).time <= until:
            number = self._waiting.pop(0)
            frame = self._at(number)
            if self._stands_out(number) and not self._is_flash(number):
                self.cuts.append(Cut(frame.time, frame.change / 255))

    def _at(self, number: int) -> _Fed:
        return self._fed[number - self._forgotten]

    def _stands_out(self, number: int) -> bool:
        """Whether a change is above those beside it in plain colours too: of what is black, hue and
        saturation say nothing, and they jump where a fade begins or ends.
        """
        beside = [self._at(number + step).change for step in (-2, -1, 1, 2)]
        least = max(self._config.change, _STANDS_OUT * max(beside))
        return self._at(number).change >= least

    def _is_flash(self, number: int) -> bool:
        """Whether what was before a change is there again soon, or what is behind it was there."""
        old, new = self._at(number - 1), self._at(number)
        near = [each for each in self._fed if abs(each.time - new.time) <= self._config.flash_sec]
        again = [difference(old.image, each.image) for each in near if each.time > new.time] + [
            difference(new.image, each.image) for each in near if each.time < old.time
        ]
        return min(again, default=np.inf) < RETURNS * new.change
