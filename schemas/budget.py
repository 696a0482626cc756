"""What a clip costs a model, and whether it fits: plain data and arithmetic.

The cost is known from the plan and the length alone, so it is compared with what the model takes
before any sound or picture is read (:meth:`Budget.fit`), and once more with what a request holds
(:meth:`Budget.admit`). Everything that is not known of a model is None and limits nothing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.errors import MediaLimitError, PromptTooLongError
from schemas.media import Clip, SamplingPlan

OnTooLong = Literal["fail", "sample", "window"]
"""What becomes of a video that does not fit the model: a failure; all of its length in fewer
frames, without sound that does not fit; or parts that do fit, each with a caption of its own."""

SHORTEST_SOUND_SEC = 0.04
"""One token of the sound encoders that models share; of half as much they make none, and the
request is refused."""

_SPARE = 0.95
"""Share of the longest part that does fit which a window takes: the text is estimated."""

_SHORTEST_WINDOW_SEC = 1.0

_ROUNDING = 1.004
"""Times are told in bfloat16: 8 significant bits."""


class ModelLimits(BaseModel):
    """How much a model and its engine take.

    Attributes:
        context: tokens of prompt and answer together.
        positions: entries of the engine's table of positions. A position beyond ends its process.
        positions_per_sec: of the model's clock: a frame's position is its time.
        sound_tokens_per_sec: tokens of a second of sound.
        longest_sound_sec: what the sound's encoder hears; it would cut the rest off unsaid.
        token_side: width and height of the square of pixels behind a token.
        frames_per_token: frames that are merged into one.
        least_pixels: smaller frames are enlarged to so many.
        frame_tokens: tokens of a frame of any size, where that is how the model sees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: int
    positions: int | None = None
    positions_per_sec: float | None = None
    sound_tokens_per_sec: float | None = None
    longest_sound_sec: float | None = None
    token_side: int | None = None
    frames_per_token: int = 1
    least_pixels: int = 0
    frame_tokens: int | None = None

    def picture_tokens(self, shown: Shown) -> int:
        """Tokens of the frames; 0 where it is not known how the model sees."""
        patches = math.ceil(shown.frames / self.frames_per_token)
        if self.frame_tokens is not None:
            return patches * self.frame_tokens
        if self.token_side is None:
            return 0
        wide, high = (max(1, round(side / self.token_side)) for side in shown.size)
        return patches * max(wide * high, self.least_pixels // self.token_side**2)

    def sound_tokens(self, shown: Shown) -> int:
        """Tokens of the sound; 0 where it is not known how the model hears."""
        return int(shown.sound_sec * (self.sound_tokens_per_sec or 0.0))

    def clock(self, shown: Shown) -> float:
        """Position of the last frames, counted from the first; 0.0 without a clock."""
        patches = math.ceil(shown.frames / self.frames_per_token)
        apart = shown.every_sec * self.frames_per_token * _ROUNDING
        return max(0, patches - 1) * apart * (self.positions_per_sec or 0.0)

    def beyond_context(self, shown: Shown, *, text: int, answer: int = 0) -> str | None:
        """Why something does not fit the context, in words; None where it does.

        Args:
            text: tokens of the prompt beside the media.
            answer: tokens that are to be left for the answer.
        """
        picture, sound = self.picture_tokens(shown), self.sound_tokens(shown)
        if picture + sound + text + answer > self.context:
            return (
                f"{shown.frames} frames take {picture} tokens, {shown.sound_sec:.1f} s of sound "
                f"{sound}, text and answer {text + answer}: more than the {self.context} of "
                "engine.max_model_len"
            )
        if self.longest_sound_sec is not None and shown.sound_sec > self.longest_sound_sec:
            return (
                f"{shown.sound_sec:.1f} s of sound, where the model hears "
                f"{self.longest_sound_sec:g} s"
            )
        return None

    def beyond_clock(self, shown: Shown, *, text: int, answer: int) -> str | None:
        """Why a position would lie beyond the engine's table, as :meth:`beyond_context`."""
        tokens = self.picture_tokens(shown) + self.sound_tokens(shown) + text + answer
        last = math.ceil(self.clock(shown)) + tokens
        if self.positions is None or last <= self.positions:
            return None
        return (
            f"{shown.seconds:.1f} s on the model's clock of {self.positions_per_sec:g} positions "
            f"a second end at position {last}, and the engine has {self.positions}"
        )


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What one request shows of a video, as far as it costs.

    Attributes:
        seconds: how long the part is that is shown.
        frames: how many, each of ``size`` (width and height in pixels).
        every_sec: from one frame to the next.
        sound_sec: seconds of sound, 0.0 without.
    """

    seconds: float
    frames: int
    size: tuple[int, int]
    every_sec: float
    sound_sec: float


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How a video is shown so that it fits.

    Attributes:
        plan: the recipe's, or what was made of it.
        window_sec: length of the parts that it is cut into; None where it is shown whole.
        warning: what was left out, None for nothing.
    """

    plan: SamplingPlan
    window_sec: float | None = None
    warning: str | None = None


class Budget(BaseModel):
    """What a recipe's requests may cost.

    Attributes:
        limits: the model's.
        text, answer: tokens of a prompt's text, estimated, and of its answer at most.
        on_too_long: what becomes of a video that does not fit.
        part_sec, part_frames: what a request shows at most of a recipe that cuts videos into
            parts by itself; None for one that shows them whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: ModelLimits
    text: int = 0
    answer: int = 0
    on_too_long: OnTooLong = "fail"
    part_sec: float | None = None
    part_frames: int | None = None

    def fit(
        self, plan: SamplingPlan, *, seconds: float, sound_sec: float, size: tuple[int, int]
    ) -> Fitting:
        """How a video is shown.

        Args:
            seconds: its length.
            sound_sec: seconds of its sound, 0.0 for none.
            size: width and height that its frames will have; zeros without a picture.

        Raises:
            MediaLimitError: it does not fit, and nothing is to be done about it.
        """
        if plan.audio_rate is None:
            sound_sec = 0.0
        reason = self._excess(plan, seconds=seconds, sound_sec=sound_sec, size=size)
        if reason is None:
            return Fitting(plan=plan)
        fitting = None
        if self.on_too_long == "sample":
            fitting = self._sampled(plan, seconds=seconds, sound_sec=sound_sec, size=size)
        elif self.on_too_long == "window":
            fitting = self._cut(plan, seconds=seconds, sound_sec=sound_sec, size=size)
        if fitting is None:
            raise MediaLimitError(f"too long for the model: {reason}{self._advice()}")
        return fitting

    def widest(self, plan: SamplingPlan) -> SamplingPlan:
        """A plan that asks for at least as much as any that :meth:`fit` makes of this one."""
        if self.on_too_long != "window" or not plan.num_frames:
            return plan
        # Windows of one length may be half as long as the longest that fits.
        fps = 2 * plan.num_frames / _SHORTEST_WINDOW_SEC
        return plan.model_copy(update={"fps": fps, "num_frames": None})

    def longest(self, plan: SamplingPlan, *, sound: bool, size: tuple[int, int]) -> float:
        """Seconds of video, with sound or without, that one request can show; infinite where
        nothing limits them, or 0.0 where not even a moment fits.
        """

        def fits(seconds: float) -> bool:
            heard = seconds if sound else 0.0
            return self._excess(plan, seconds=seconds, sound_sec=heard, size=size) is None

        low, high = 0.0, 1e7
        if fits(high):
            return math.inf
        while high - low > 0.01:
            middle = (low + high) / 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def admit(self, clip: Clip, *, text: int, answer: int) -> Clip:
        """The clip as the model is to be told of it.

        The frames of a clip that is too long for the model's clock are told to be nearer to each
        other where ``on_too_long`` is "sample".

        Args:
            text, answer: tokens of this request's text, and of its answer at most.

        Raises:
            PromptTooLongError: it does not fit; said before anything is computed of it.
        """
        shown = _held(clip)
        # The engine cuts an answer that the context does not hold: that is not a reason here.
        answer = min(answer, max(0, self.limits.context - text))
        over = self.limits.beyond_context(shown, text=text)
        if over is None:
            over = self.limits.beyond_clock(shown, text=text, answer=answer)
            if over is not None and self.on_too_long == "sample":
                return self._nearer(clip, shown, tokens=text + answer)
        if over is not None:
            raise PromptTooLongError(f"the clip does not fit the model: {over}{self._advice()}")
        return clip

    def _nearer(self, clip: Clip, shown: Shown, *, tokens: int) -> Clip:
        """The clip with its moments drawn together until the clock holds them."""
        limits = self.limits
        assert limits.positions is not None
        used = tokens + limits.picture_tokens(shown) + limits.sound_tokens(shown)
        share = max(0, limits.positions - used - 1) / limits.clock(shown)
        return dataclasses.replace(clip, timestamps=clip.timestamps * share)

    def _excess(
        self, plan: SamplingPlan, *, seconds: float, sound_sec: float, size: tuple[int, int]
    ) -> str | None:
        shown = self._shown(plan, seconds=seconds, sound_sec=sound_sec, size=size)
        known = {"text": self.text, "answer": self.answer}
        return self.limits.beyond_context(shown, **known) or self.limits.beyond_clock(
            shown, **known
        )

    def _shown(
        self, plan: SamplingPlan, *, seconds: float, sound_sec: float, size: tuple[int, int]
    ) -> Shown:
        part = min(seconds, self.part_sec or seconds)
        frames = plan.num_frames
        if frames is None:
            frames = math.ceil(round(part * (plan.fps or 0.0), 6)) or 1
        every = 1 / plan.fps if plan.fps else part / max(1, frames - plan.include_last)
        if self.part_frames is not None and frames > self.part_frames:
            frames, every = self.part_frames, part / self.part_frames
        return Shown(
            seconds=part,
            frames=frames if all(size) else 0,
            size=size,
            every_sec=every,
            sound_sec=min(part, sound_sec),
        )

    def _sampled(
        self, plan: SamplingPlan, *, seconds: float, sound_sec: float, size: tuple[int, int]
    ) -> Fitting | None:
        """All of the length, in as many frames as fit, with the sound if it does."""
        if not all(size) or self.part_sec is not None:
            return None
        for heard in (sound_sec, 0.0):
            silent = sound_sec > 0 and not heard
            sampled = plan.model_copy(update={"audio_rate": None}) if silent else plan
            shown = self._shown(sampled, seconds=seconds, sound_sec=heard, size=size)
            for frames in (shown.frames, self._most_frames(shown)):
                fewer = dataclasses.replace(shown, frames=frames)
                # The clock gives way: see `admit`.
                if not frames or self.limits.beyond_context(
                    fewer, text=self.text, answer=self.answer
                ):
                    continue
                if frames < shown.frames:
                    sampled = sampled.model_copy(update={"num_frames": frames, "fps": None})
                return Fitting(
                    plan=sampled,
                    warning=f"{seconds:.1f} s are too long for the model: {frames} frames of all "
                    f"of it are shown{', without the sound' if silent else ''}",
                )
        return None

    def _most_frames(self, shown: Shown) -> int:
        """How many frames fit beside the sound; 0 for none, or where that is unknown."""
        limits = self.limits
        each = limits.picture_tokens(dataclasses.replace(shown, frames=limits.frames_per_token))
        room = limits.context - self.text - self.answer - limits.sound_tokens(shown)
        return max(0, room // each * limits.frames_per_token) if each else 0

    def _cut(
        self, plan: SamplingPlan, *, seconds: float, sound_sec: float, size: tuple[int, int]
    ) -> Fitting | None:
        """Parts of one length, each sampled as the plan samples a video."""
        longest = _SPARE * self.longest(plan, sound=sound_sec > 0, size=size)
        if self.part_sec is not None or longest < _SHORTEST_WINDOW_SEC:
            return None
        parts = math.ceil(seconds / longest)
        window = seconds / parts
        if plan.num_frames:
            plan = plan.model_copy(update={"fps": plan.num_frames / window, "num_frames": None})
        return Fitting(
            plan=plan,
            window_sec=window,
            warning=f"{seconds:.1f} s are too long for the model: captioned in {parts} parts",
        )

    def _advice(self) -> str:
        if self.part_sec is not None:
            return "; recipe.options.window_sec makes its parts shorter"
        if self.on_too_long == "fail":
            return (
                "; recipe.on_too_long: window captions parts that fit, sample makes one caption of "
                "fewer frames, without sound that does not fit"
            )
        return ""


def _held(clip: Clip) -> Shown:
    height, width = clip.frames.shape[1:3]
    span = float(clip.timestamps[-1] - clip.timestamps[0]) if clip.num_frames > 1 else 0.0
    return Shown(
        seconds=clip.duration_sec,
        frames=clip.num_frames,
        size=(width, height),
        every_sec=span / max(1, clip.num_frames - 1),
        sound_sec=0.0 if clip.audio is None else len(clip.audio) / clip.audio_rate,
    )
