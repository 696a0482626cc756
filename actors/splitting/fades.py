"""Fades through black that lead from one scene to another: cuts in the middle of the black.

An adaptive detector does not see them, as no frame differs much from its neighbours, and
PySceneDetect's detector of fades goes by mean brightness, to which a title on black is black.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt

from actors.splitting.cuts import Cut

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

DARK = 30
"""Brightness of 255 that no part of a black frame reaches: titles do, noise does not."""

HELD_SEC = 0.05
"""Least time of black: a single frame is a fault of the film."""

ASIDE_SEC = 1.0
"""How far from the black a scene is looked for that is not dimmed any more."""

SOFT = 0.1
"""Score of a cut below which it may be the edge of a fade, where such edges are found at all."""

_SAME = 0.7
"""Correlation of two pictures from which on they show the same scene."""

_FINE, _SMALL = (80, 45), (16, 9)
"""Sizes at which black is told from what is not, and scenes are compared."""


class FadeFinder:
    """Finds fades in frames that come one by one; it keeps some 300 bytes of each.

    Args:
        rate: frames per second of the video.
    """

    def __init__(self, rate: float) -> None:
        self._frame = 1 / rate if rate > 0 else 0.0
        self._times: list[float] = []
        self._black: list[bool] = []
        self._images: list[Image] = []

    def add(self, time: float, image: Image) -> None:
        """Look at a frame, RGB of shape (H, W, 3); times increase."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        fine = cv2.resize(grey, _FINE, interpolation=cv2.INTER_AREA)
        small = cv2.resize(fine, _SMALL, interpolation=cv2.INTER_AREA)
        self._times.append(time)
        self._black.append(int(fine.max()) < DARK)
        self._images.append(np.asarray(small, dtype=np.uint8))

    def joined(self, cuts: list[Cut], *, soft: float) -> list[Cut]:
        """These cuts and the fades, in order. Cuts with a score below ``soft`` make room for a fade
        that is near: they are its edges.
        """
        faded = self.cuts([cut for cut in cuts if cut.score >= soft])
        kept = [
            cut
            for cut in cuts
            if cut.score >= soft or all(abs(cut.time - fade.time) > ASIDE_SEC for fade in faded)
        ]
        return sorted(kept + faded)

    def cuts(self, others: list[Cut]) -> list[Cut]:
        """Of each fade from one scene to another the first frame from the black's middle on, and
        how much the scenes differ; none where the black begins or ends at one of the other cuts.
        """
        if not self._times:
            return []
        times, images = np.asarray(self._times), np.asarray(self._images)
        is_black = np.asarray(self._black)
        edges = np.flatnonzero(np.diff(is_black)) + 1
        found = []
        for first, last in itertools.pairwise(edges):
            begin, end = times[first], times[last]
            if not is_black[first] or end - begin < HELD_SEC:
                continue
            room = 1.5 * self._frame
            if any(begin - room <= cut.time <= end + room for cut in others):
                continue
            aside = np.searchsorted(times, [begin - ASIDE_SEC, end + ASIDE_SEC])
            before = _nearest(images[min(aside[0], first - 1) : first][::-1])
            behind = _nearest(images[last : max(aside[1], last + 1)])
            if _correlation(before, behind) < _SAME:
                score = float(np.mean(cv2.absdiff(before, behind))) / 255
                found.append(Cut(self._behind(float(begin + end) / 2, times), score))
        return found

    def _behind(self, moment: float, times: Floats) -> float:
        """When the first frame is shown at a moment or after it."""
        last = float(times[np.searchsorted(times, moment, side="right") - 1])
        if not self._frame:
            return last
        return last + self._frame * int(np.ceil((moment - last) / self._frame - 1e-3))


def _nearest(images: Image) -> Image:
    """The first of frames, shape (N, H, W), that is half as bright as the brightest."""
    light = images.mean(axis=(1, 2))
    nearest: Image = images[np.argmax(light >= light.max() / 2)]
    return nearest


def _correlation(one: Image, other: Image) -> float:
    """Of the brightness of two pictures, from -1 to 1; 0 where one is flat. Dimmed, a picture is
    the same.
    """
    parts = [each - each.mean() for each in (one.astype(np.float64), other.astype(np.float64))]
    size = float(np.prod([np.linalg.norm(part) for part in parts]))
    return float(np.sum(parts[0] * parts[1])) / size if size else 0.0
