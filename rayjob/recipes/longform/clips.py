"""Recipe ``clips``: captions of frames, and of overlapping windows in a chain (LongCaption-Agent).

Follows LongCaption-Agent: frames at 1 fps are captioned alone; windows of 10 s every 5 s are
captioned with the caption of the window before as context, c_t = LMM(clip_t, c_{t-1}); a
third step (``rayjob fuse --task long``) makes one text of both. The windows of a video wait
for one another; its frames and all other videos do not, so the engine stays full.

Options take away what the paper's ablations do without (windows, or their context), or tell of
each key frame only what changed since the one before, after ShareGPT4Video.

Frames travel compressed (some 10 to 100 KB each) and are unpacked request by request: memory
does not grow with the number of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import PositiveFloat, PositiveInt, model_validator

from rayjob.recipes.asking import all_or_incomplete
from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.rules import complete, no_endless_repetition, non_empty, prose
from rayjob.recipes.windows import Window, cut, frames_within, windows_over
from schemas.config import GenerationConfig
from schemas.errors import CaptionError, UnusableMaterialError
from schemas.media import DecodedVideo, SamplingPlan
from schemas.recipe import Engine, Video
from schemas.settings import Settings
from schemas.tables import CaptionRow, Level


class ClipsOptions(Settings):
    """What only this recipe can be told. Times in seconds."""

    window_sec: PositiveFloat | None = 10.0
    """Length of a window; null for captions of frames alone."""
    stride_sec: PositiveFloat = 5.0
    """From one window, or key frame, to the next."""
    context: bool = True
    """Tell the model of each window what it said of the one before."""
    differential: bool = False
    """Show a key frame and the one before instead of a window, each with the frame that follows it,
    and ask what changed."""
    frame_sec: PositiveFloat | None = 1.0
    """From one captioned frame to the next; null for none."""
    max_window_frames: PositiveInt = 64
    """Frames shown per window."""
    frames_in_flight: PositiveInt | None = None
    """Frames of one video that are captioned at once; by default as many as come to each window,
    so that frames and chain end together."""
    frame_prompt_file: str | None = None
    """The frames' prompt."""
    change_prompt_file: str | None = None
    """The prompt for two key frames, of differential captions."""

    @property
    def frames_at_once(self) -> int:
        """Frames of one video that are captioned at once."""
        if self.frames_in_flight is not None or self.frame_sec is None:
            return self.frames_in_flight or 1
        return max(1, round(self.stride_sec / self.frame_sec))

    @model_validator(mode="after")
    def _covers(self) -> ClipsOptions:
        if self.differential and not (self.window_sec and self.context):
            raise ValueError("differential captions have windows and context")
        if self.window_sec is None and self.frame_sec is None:
            raise ValueError("neither window_sec nor frame_sec: nothing would be captioned")
        if self.window_sec is not None and self.stride_sec > self.window_sec:
            raise ValueError("stride_sec is larger than window_sec: parts would go uncaptioned")
        return self


class Clips(BaseRecipe):
    """One caption per sampled frame and one per window."""

    name = "clips"
    model = "openbmb/MiniCPM-V-2_6"
    # Its processor comes as code of its own.
    trust_remote_code = True
    prompt = "prompts/clip.txt"
    plan = SamplingPlan(fps=1.0, max_pixels=200_704, compress=True)
    generation = GenerationConfig(temperature=0.2, max_tokens=2048, seed=42)
    rules = (non_empty, prose, no_endless_repetition, complete)
    options = ClipsOptions()
    prompts: Mapping[str, str] = {
        "frame_prompt_file": "prompts/frame.txt",
        "change_prompt_file": "prompts/change.txt",
    }
    # The chain, and some of the frames beside it.
    requests_per_video = 4

    def set_up(self) -> None:
        """Apply the options."""
        options = self.options
        pair_sec = 2 * options.stride_sec if options.differential else None
        self.part_sec = pair_sec or options.window_sec or options.frame_sec
        self.part_frames = options.max_window_frames

    async def caption(self, video: Video, engine: Engine) -> Sequence[CaptionRow]:
        """Rows of the levels "frame" and "clip"; see :class:`schemas.recipe.Recipe`.

        Raises:
            IncompleteError: a request failed; the rows made until then are kept.
        """
        decoded = video.decoded
        assert decoded is not None
        if not decoded.num_frames:
            raise UnusableMaterialError("the file has no picture, and this recipe captions frames")
        rows: list[CaptionRow] = []
        jobs = [self._chain(video, decoded, engine, rows)]
        waiting = iter(self._frames(decoded))
        jobs += [
            self._some_frames(video, engine, waiting, rows)
            for _ in range(self.options.frames_at_once)
        ]
        return all_or_incomplete(rows, await asyncio.gather(*jobs, return_exceptions=True))

    async def _chain(
        self, video: Video, decoded: DecodedVideo, engine: Engine, rows: list[CaptionRow]
    ) -> None:
        """Caption the windows one after the other."""
        steps = list(self._steps(decoded))
        before = ""
        for window, frames, prompt in steps:
            try:
                row = await self._captioned(
                    video, engine, window, frames, level="clip", prompt=prompt,
                    places={"context": before},
                )  # fmt: skip
            except CaptionError as error:
                raise type(error)(
                    f"the chain stopped at window {window.index + 1} of {len(steps)}, "
                    f"{window.start_sec:g} s: {error}"
                ) from error
            rows.append(row)
            # A caption that broke a rule would lead the next one astray.
            if self.options.context and row.caption_status == "ok":
                before = row.caption

    def _steps(self, decoded: DecodedVideo) -> Iterator[tuple[Window, list[int], str]]:
        """The chain: each part of the time line, the frames that are shown of it, the prompt."""
        options = self.options
        if options.window_sec is None:
            return
        length = options.stride_sec if options.differential else options.window_sec
        key: list[int] = []
        for window in windows_over(
            decoded.info.duration_sec, window_sec=length, stride_sec=options.stride_sec
        ):
            frames = frames_within(decoded, window)
            if options.differential:
                # Two frames of each moment: Qwen's vision towers merge two into one patch, in which
                # one moment is not told from another. A lone frame is shown twice.
                before, key = key, [*frames[:2], *frames][:2]
                if before:
                    yield window, before + key, self.prompts["change_prompt_file"]
                else:
                    yield window, key[:1], self.prompts["frame_prompt_file"]
            else:
                yield window, _evenly(frames, options.max_window_frames), self.prompt

    def _frames(self, decoded: DecodedVideo) -> Iterator[tuple[Window, int]]:
        """Frames to caption alone, each once and with the time it stands for."""
        if self.options.frame_sec is None:
            return
        spans = windows_over(
            decoded.info.duration_sec,
            window_sec=self.options.frame_sec,
            stride_sec=self.options.frame_sec,
        )
        for span in spans:
            frame = frames_within(decoded, span)[0]
            # Else no frame begins here: the one that is still shown was captioned before.
            if decoded.timestamps[frame] >= span.start_sec - 1e-6 or not span.index:
                yield span, frame

    async def _some_frames(
        self,
        video: Video,
        engine: Engine,
        waiting: Iterator[tuple[Window, int]],
        rows: list[CaptionRow],
    ) -> None:
        """Caption frames from a queue that several of these share."""
        prompt = self.prompts["frame_prompt_file"]
        for span, frame in waiting:
            try:
                row = await self._captioned(
                    video, engine, span, [frame], level="frame", prompt=prompt
                )
            except CaptionError as error:
                raise type(error)(f"the frame at {span.start_sec:g} s failed: {error}") from error
            rows.append(row)

    async def _captioned(
        self,
        video: Video,
        engine: Engine,
        window: Window,
        frames: list[int],
        *,
        level: Level,
        prompt: str | None = None,
        places: Mapping[str, str] = {},
    ) -> CaptionRow:
        """Caption some frames, with the sound of a window where they are a clip."""
        decoded = video.decoded
        assert decoded is not None
        # Unpacked now, one request at a time.
        shown, sound = window, level == "clip"
        if self.options.differential:
            # From the earlier key frame on.
            begin = min(window.start_sec, float(decoded.timestamps[frames[0]]))
            shown, sound = replace(window, start_sec=begin), False
        clip = await asyncio.to_thread(cut, decoded, shown, frames=frames, sound=sound)
        outcome = await self.ask(
            engine, prompt=prompt, places=places, clip=clip, drop_abnormal=False
        )
        return self.row(
            video,
            outcome,
            num_frames=len({*frames}),
            level=level,
            index=window.index,
            start_sec=window.start_sec,
            end_sec=window.end_sec,
        )


def _evenly(indices: list[int], most: int) -> list[int]:
    """At most so many of them, evenly, the first and the last among them."""
    if len(indices) <= most:
        return indices
    return [indices[round(at)] for at in np.linspace(0, len(indices) - 1, most)]
