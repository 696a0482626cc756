"""Recipe ``clips``: captions of frames, and of overlapping windows in a chain (LongCaption-Agent).

Follows LongCaption-Agent: frames at 1 fps are captioned alone; windows of 10 s every 5 s are
captioned with the caption of the window before as context, c_t = LMM(clip_t, c_{t-1}); a
third step (``rayjob fuse --task long``) makes one text of both. The windows of a video wait
for one another; its frames and all other videos do not, so the engine stays full.

Frames travel compressed (some 10 to 100 KB each) and are unpacked request by request: memory
does not grow with the number of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import PositiveFloat, PositiveInt, model_validator

from rayjob.recipes.asking import all_or_incomplete
from rayjob.recipes.base import BaseRecipe
from rayjob.recipes.windows import Window, cut, frames_within, windows_over
from schemas.config import GenerationConfig
from schemas.errors import CaptionError, UnusableMaterialError
from schemas.media import DecodedVideo, SamplingPlan
from schemas.recipe import Engine, Video
from schemas.settings import Settings
from schemas.tables import CaptionRow, Level


class ClipsOptions(Settings):
    """What only this recipe can be told. Times in seconds."""

    window_sec: PositiveFloat = 10.0
    """Length of a window."""
    stride_sec: PositiveFloat = 5.0
    """From one window to the next."""
    frame_sec: PositiveFloat | None = 1.0
    """From one captioned frame to the next; null for none."""
    max_window_frames: PositiveInt = 64
    """Frames shown per window."""
    frames_in_flight: PositiveInt | None = None
    """Frames of one video that are captioned at once; by default as many as come to each window,
    so that frames and chain end together."""
    frame_prompt_file: str | None = None
    """The frames' prompt."""

    @property
    def frames_at_once(self) -> int:
        """Frames of one video that are captioned at once."""
        if self.frames_in_flight is not None or self.frame_sec is None:
            return self.frames_in_flight or 1
        return max(1, round(self.stride_sec / self.frame_sec))

    @model_validator(mode="after")
    def _covers(self) -> ClipsOptions:
        if self.stride_sec > self.window_sec:
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
    options = ClipsOptions()
    prompts: Mapping[str, str] = {"frame_prompt_file": "prompts/frame.txt"}
    # The chain, and some of the frames beside it.
    requests_per_video = 4

    def set_up(self) -> None:
        """Apply the options."""
        self.part_sec = self.options.window_sec
        self.part_frames = self.options.max_window_frames

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
        options = self.options
        windows = windows_over(
            decoded.info.duration_sec, window_sec=options.window_sec, stride_sec=options.stride_sec
        )
        before = ""
        for window in windows:
            frames = _evenly(frames_within(decoded, window), options.max_window_frames)
            prompt = self.prompt.replace("{context}", before)
            try:
                row = await self._captioned(video, engine, prompt, window, frames, level="clip")
            except CaptionError as error:
                raise type(error)(
                    f"the chain stopped at window {window.index + 1} of {len(windows)}, "
                    f"{window.start_sec:g} s: {error}"
                ) from error
            rows.append(row)
            if row.caption_status == "ok":
                # A caption that broke a rule would lead the next one astray.
                before = row.caption

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
                row = await self._captioned(video, engine, prompt, span, [frame], level="frame")
            except CaptionError as error:
                raise type(error)(f"the frame at {span.start_sec:g} s failed: {error}") from error
            rows.append(row)

    async def _captioned(
        self,
        video: Video,
        engine: Engine,
        prompt: str,
        window: Window,
        frames: list[int],
        *,
        level: Level,
    ) -> CaptionRow:
        """Caption some frames, with the sound of a window where they are a clip."""
        decoded = video.decoded
        assert decoded is not None
        # Unpacked now, one request at a time.
        clip = await asyncio.to_thread(cut, decoded, window, frames=frames, sound=level == "clip")
        outcome = await self.ask(engine, prompt=prompt, clip=clip, drop_abnormal=False)
        return self.row(
            video,
            outcome,
            num_frames=len(frames),
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
