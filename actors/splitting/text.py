"""How much of a picture is text: the detector of PP-OCR, as RapidOCR's package brings it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rapidocr import RapidOCR

_LONGEST_SIDE = 736
_SURE = 0.6
"""Probability of a box below which it is not text: PaddleOCR's own default."""

_HIGHEST = 1 / 3
"""Of the picture's height: what is higher is grass or noise, which has edges like those of letters
everywhere, and not a line.
"""


class TextDetector:
    """Finds lines of text in any script, upright or not, on one core."""

    def __init__(self) -> None:
        self._find: Any = RapidOCR(  # what it returns is one of four types, by these settings
            params={
                "Global.use_cls": False,
                "Global.use_rec": False,
                "Global.log_level": "critical",  # it warns where there is no text
                "Det.limit_type": "max",
                "Det.limit_side_len": _LONGEST_SIDE,
                "Det.box_thresh": _SURE,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def area(self, image: npt.NDArray[np.uint8]) -> float:
        """Share of a frame, RGB of shape (H, W, 3), that the boxes of its lines cover."""
        found = self._find(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        covered = np.zeros(image.shape[:2], dtype=np.uint8)
        for box in [] if found.boxes is None else found.boxes:
            if min(cv2.minAreaRect(box)[1]) <= _HIGHEST * len(image):
                cv2.fillConvexPoly(covered, np.round(box).astype(np.int32), 1)
        return float(covered.mean())
