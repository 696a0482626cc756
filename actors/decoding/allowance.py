"""What a file may be, by the limits and the model's budget: asked before anything is read."""

from __future__ import annotations

import dataclasses

from actors.decoding.extent import Extent
from actors.decoding.probe import Source, stream_length
from actors.decoding.sampling import fit_size
from actors.decoding.schedule import Schedule
from schemas.budget import Budget, Fitting
from schemas.errors import MediaLimitError
from schemas.media import WHOLE, DecodeLimits, SamplingPlan, Segment

_FAR_OFF = 0.1
"""Share by which a header and what is there differ before a message names both."""


class Allowance:
    """How much of a video is decoded, so that it fits the decoding process and the model.

    Args:
        source: the open file.
        plan: what is asked of it.
        limits: of the decoding process.
        budget: the model's, None where no model is to see the video.
        segment: what is decoded of it.
    """

    def __init__(
        self,
        source: Source,
        plan: SamplingPlan,
        limits: DecodeLimits,
        budget: Budget | None,
        segment: Segment = WHOLE,
    ) -> None:
        self._source = source
        self._plan = plan
        self._limits = limits
        self._budget = budget
        self._segment = segment
        self._sound_sec = self._part_of(stream_length(source, source.audio))
        self._header_sec = max(self._part_of(stream_length(source, source.video)), self._sound_sec)

    def _part_of(self, seconds: float) -> float:
        """How much of a stream of so many seconds is decoded."""
        begin, end = self._segment.within(seconds)
        return end - begin

    def by_header(self) -> Fitting:
        """What the header leads to expect.

        Raises:
            MediaLimitError: it does not fit.
        """
        return self._fit(self._plan, self._header_sec, self._sound_sec)

    def by_content(self, expected: Fitting, schedule: Schedule | None, extent: Extent) -> Fitting:
        """The same, by what is there.

        Args:
            expected: by the header. Sound that was left out by it stays out.

        Raises:
            MediaLimitError: it does not fit.
        """
        start = 0.0 if schedule is None else schedule.start
        sound_sec = 0.0 if extent.sound_end is None else max(0.0, extent.sound_end - start)
        sound_sec = self._part_of(sound_sec)
        picture_sec = 0.0 if schedule is None else self._part_of(schedule.timeline.duration)
        length = max(sound_sec, picture_sec)
        silent = expected.plan.audio_rate is None
        plan = self._plan.model_copy(update={"audio_rate": None}) if silent else self._plan
        try:
            fitting = self._fit(plan, length, sound_sec)
        except MediaLimitError as error:
            if abs(length - self._header_sec) <= _FAR_OFF * length:
                raise
            raise MediaLimitError(
                f"{error} (the packets span {length:.1f} s, the header says "
                f"{self._header_sec:.1f} s)"
            ) from None
        return dataclasses.replace(fitting, warning=fitting.warning or expected.warning)

    def longer_sound(self, seconds: float) -> None:
        """Raise MediaLimitError where sound that goes on for so long is too much."""
        if seconds > self._limits.max_duration_sec:
            raise MediaLimitError(
                f"the sound is longer than {self._limits.max_duration_sec:.0f} s "
                "(decode.limits.max_duration_sec)"
            )
        self._fit(self._plan, seconds, seconds)

    def _fit(self, plan: SamplingPlan, seconds: float, sound_sec: float) -> Fitting:
        if self._segment != WHOLE and seconds > self._limits.max_duration_sec:
            raise MediaLimitError(
                f"the segment is {seconds:.0f} s long, more than "
                f"{self._limits.max_duration_sec:.0f} s (decode.limits.max_duration_sec)"
            )
        size, fitting = self._size(), Fitting(plan=plan)
        if self._budget is not None:
            fitting = self._budget.fit(plan, seconds=seconds, sound_sec=sound_sec, size=size)
        held_mb = int(4 * (fitting.plan.audio_rate or 0) * sound_sec) >> 20
        if held_mb > self._limits.memory_mb:
            raise MediaLimitError(
                f"{sound_sec:.0f} s of sound take {held_mb} MB, more than the "
                f"{self._limits.memory_mb} of decode.limits.memory_mb"
            )
        return fitting

    def _size(self) -> tuple[int, int]:
        """Width and height that frames will have, in either order; zeros without a picture."""
        video = self._source.video
        if video is None or not video.width or not video.height:
            return 0, 0
        if self._plan.stretch_to is not None:
            return self._plan.stretch_to
        aspect = float(video.sample_aspect_ratio or 1)
        return fit_size(video.width * aspect, video.height, self._plan.max_pixels)
