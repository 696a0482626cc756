"""Recipe ``clips`` against a scripted engine: what each request holds, and what a fault costs."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.decoding.decoder import decode
from actors.storage.access import open_range
from rayjob.recipes.longform.clips import Clips
from rayjob.recipes.longform.one_pass import OnePass
from rayjob.testing import ScriptedEngine, sample_video
from schemas.config import RecipeConfig
from schemas.errors import (
    Cause,
    ConfigError,
    IncompleteError,
    RequestRejectedError,
    StorageUnavailableError,
    UnusableMaterialError,
)
from schemas.frame_pack import FramePacker
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions, VideoInfo
from schemas.recipe import Answer, Request, Video
from tests.support.media import numbers_of, render

SECONDS = 12
OPTIONS = {"window_sec": 4, "stride_sec": 2, "frame_sec": 1}
WINDOWS = 5
LEVEL = 20
"""Frame n has this brightness times n, so that a request tells which frames it holds."""


def recipe(**options: Any) -> Clips:
    config = RecipeConfig(options={**OPTIONS, **options})
    return Clips(config)


def video(*, seconds: float = SECONDS, packed: bool = True) -> Video:
    """One frame a second, and sound."""
    times = np.arange(0.0, seconds, 1.0)
    images = np.empty((len(times), 16, 16, 3), np.uint8)
    images[:] = (LEVEL * np.arange(len(times)) % 256)[:, None, None, None]
    packer = FramePacker()
    for image in images:
        packer.add(image)
    clip = DecodedVideo(
        info=VideoInfo(
            duration_sec=seconds, fps=25.0, width=16, height=16, has_video=True, has_audio=True
        ),
        frames=np.empty((0, 0, 0, 3), np.uint8) if packed else images,
        pack=packer.pack() if packed else None,
        timestamps=times,
        audio=np.zeros(round(seconds * 8000), np.float32),
        audio_rate=8000,
    )
    return Video(video_id="a.mp4", uri="/v/a.mp4", metadata=None, decoded=clip)


def shown(request: Request) -> list[int]:
    """Numbers of the frames in a request."""
    assert request.clip is not None
    return [round(float(frame.mean()) / LEVEL) for frame in request.clip.frames]


def is_window(request: Request) -> bool:
    return len(shown(request)) > 1


def answer(request: Request) -> str:
    frames = shown(request)
    return f"Seen {frames[0]} to {frames[-1]}." if is_window(request) else f"Frame {frames[0]}."


def windows_of(engine: ScriptedEngine) -> list[Request]:
    return [request for request in engine.requests if is_window(request)]


async def test_each_window_is_told_what_came_before() -> None:
    engine = ScriptedEngine(answer)
    await recipe().caption(video(), engine)
    asked = windows_of(engine)
    assert [shown(request) for request in asked] == [
        [0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9], [8, 9, 10, 11]
    ]  # fmt: skip
    assert "Seen" not in asked[0].prompt
    for before, request in itertools.pairwise(asked):
        assert request.prompt.count("Seen") == 1
        assert answer(before) in request.prompt


async def test_rows() -> None:
    rows = await recipe().caption(video(), ScriptedEngine(answer))
    clips = [row for row in rows if row.level == "clip"]
    frames = [row for row in rows if row.level == "frame"]
    assert len(rows) == len(clips) + len(frames)
    assert len({(row.level, row.index) for row in rows}) == len(rows)
    assert [(row.index, row.start_sec, row.end_sec) for row in clips] == [
        (0, 0, 4), (1, 2, 6), (2, 4, 8), (3, 6, 10), (4, 8, 12)
    ]  # fmt: skip
    assert [row.num_frames for row in clips] == [4] * WINDOWS
    assert [(row.index, row.start_sec, row.end_sec) for row in frames] == [
        (second, second, second + 1) for second in range(SECONDS)
    ]
    # Rows of what ran side by side are not mixed up.
    assert [row.caption for row in frames] == [f"Frame {second}." for second in range(SECONDS)]
    assert {row.caption_status for row in rows} == {"ok"}
    assert {row.duration_sec for row in rows} == {SECONDS}


async def test_prompts_and_sound() -> None:
    engine = ScriptedEngine(answer)
    await recipe().caption(video(), engine)
    for request in engine.requests:
        assert request.clip is not None
        if is_window(request):
            assert request.clip.audio is not None and len(request.clip.audio) == 4 * 8000
            assert request.clip.timestamps.tolist() == [0, 1, 2, 3]
        else:
            assert request.clip.audio is None
            assert request.prompt == recipe().prompts["frame_prompt_file"]


# ---- without windows, without context, and what changed


async def test_frames_alone() -> None:
    engine = ScriptedEngine(answer)
    rows = await recipe(window_sec=None).caption(video(), engine)
    assert [row.level for row in rows] == ["frame"] * SECONDS
    assert not windows_of(engine)
    with pytest.raises(ConfigError, match="nothing would be captioned"):
        recipe(window_sec=None, frame_sec=None)


async def test_clips_without_context() -> None:
    engine = ScriptedEngine(answer)
    rows = await recipe(context=False, frame_sec=None).caption(video(), engine)
    assert [row.level for row in rows] == ["clip"] * WINDOWS
    assert not any("Seen" in request.prompt for request in windows_of(engine))


async def test_differential_captions() -> None:
    """The first key frame is described, and of each later one what changed since the one before.

    Two frames of each, since some models merge two into one patch.
    """
    engine = ScriptedEngine(answer)
    asked = recipe(differential=True, stride_sec=3, frame_sec=None)
    rows = await asked.caption(video(), engine)
    assert [shown(request) for request in engine.requests] == [
        [0], [0, 1, 3, 4], [3, 4, 6, 7], [6, 7, 9, 10]
    ]  # fmt: skip
    assert [row.num_frames for row in rows] == [1, 4, 4, 4]
    first, *others = engine.requests
    assert first.prompt == asked.prompts["frame_prompt_file"]
    for request, before in zip(others, ["Frame 0.", "Seen 0 to 4.", "Seen 3 to 7."], strict=True):
        assert f"\n{before}\n" in request.prompt and "what has changed" in request.prompt
        assert request.clip is not None and request.clip.timestamps.tolist() == [0, 1, 3, 4]
        assert request.clip.audio is None
    # They cover the time line, so that a long text can be made of them.
    assert [(row.level, row.start_sec, row.end_sec) for row in rows] == [
        ("clip", 0, 3), ("clip", 3, 6), ("clip", 6, 9), ("clip", 9, 12)
    ]  # fmt: skip
    # A lone frame is shown twice.
    engine = ScriptedEngine(answer)
    rows = await recipe(differential=True, stride_sec=1, frame_sec=None).caption(
        video(seconds=2), engine
    )
    assert [shown(request) for request in engine.requests] == [[0], [0, 0, 1, 1]]
    assert [row.num_frames for row in rows] == [1, 2]
    with pytest.raises(ConfigError, match="differential captions have windows and context"):
        recipe(differential=True, context=False)


async def test_one_pass() -> None:
    plan = OnePass.plan
    assert plan is not None and (plan.num_frames, plan.fps) == (128, None)
    sparse = RecipeConfig(plan=SamplingPlan(fps=1 / 6, compress=True))
    text = "A square crosses the picture."
    for config, frames in ((None, 128), (sparse, 10)):
        asked = OnePass(config)
        engine = ScriptedEngine([text])
        (told,) = await asked.caption(sample_video(asked.plan, seconds=60), engine)
        assert (told.level, told.caption, told.num_frames) == ("video", text, frames)


class Meeting(ScriptedEngine):
    """Answers no request before three were open at the same time."""

    def __init__(self) -> None:
        super().__init__(answer)
        self.met = asyncio.Event()
        self.open = self.most_at_once = 0

    async def ask(self, request: Request) -> Answer:
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)
        try:
            if self.open >= 3:
                self.met.set()
            await asyncio.wait_for(self.met.wait(), 30)
            return await super().ask(request)
        finally:
            self.open -= 1


async def test_frames_run_beside_the_chain_and_only_so_many() -> None:
    engine = Meeting()
    await recipe(frames_in_flight=2).caption(video(), engine)
    assert engine.most_at_once == 3


async def test_frames_travel_compressed_or_not() -> None:
    packed, raw = ScriptedEngine(answer), ScriptedEngine(answer)
    one = await recipe().caption(video(packed=True), packed)
    other = await recipe().caption(video(packed=False), raw)
    assert [row.caption for row in one] == [row.caption for row in other]


async def test_a_short_video_is_one_window() -> None:
    rows = await recipe(frame_sec=None).caption(video(seconds=3), ScriptedEngine(answer))
    assert [(row.level, row.start_sec, row.end_sec) for row in rows] == [("clip", 0, 3)]


async def test_the_last_window_may_be_short() -> None:
    rows = await recipe(frame_sec=None).caption(video(seconds=9), ScriptedEngine(answer))
    assert [(row.start_sec, row.end_sec) for row in rows] == [(0, 4), (2, 6), (4, 8), (6, 9)]


async def test_a_frame_is_captioned_once_where_few_were_sampled() -> None:
    rows = await recipe(frame_sec=0.25).caption(video(), ScriptedEngine(answer))
    frames = [row for row in rows if row.level == "frame"]
    assert [row.start_sec for row in frames] == list(range(SECONDS))


async def test_a_window_shows_so_many_frames_at_most() -> None:
    engine = ScriptedEngine(answer)
    rows = await recipe(max_window_frames=3, window_sec=6).caption(video(), engine)
    assert next(map(shown, windows_of(engine))) == [0, 2, 5]
    assert {row.num_frames for row in rows if row.level == "clip"} == {3}


@pytest.mark.parametrize(
    ("bad", "status"),
    [("", "invalid"), ("It goes on and~", "truncated"), ("la la la la la la la la", "invalid")],
)
async def test_a_bad_caption_is_not_passed_on(bad: str, status: str) -> None:
    def script(request: Request) -> str:
        return bad if shown(request) == [4, 5, 6, 7] else answer(request)

    engine = ScriptedEngine(script)
    rows = await recipe().caption(video(), engine)
    clips = [row for row in rows if row.level == "clip"]
    assert [row.caption_status for row in clips] == ["ok", "ok", status, "ok", "ok"]
    assert (clips[2].attempts, clips[2].caption) == (3, bad)
    (after,) = [request for request in engine.requests if shown(request) == [6, 7, 8, 9]]
    assert "Seen 2 to 5." in after.prompt, "the last caption that kept all rules"
    assert not bad or bad not in after.prompt


def fails_at(frames: list[int], error: Exception) -> ScriptedEngine:
    def script(request: Request) -> str:
        if shown(request) == frames:
            raise error
        return answer(request)

    return ScriptedEngine(script)


async def test_a_chain_that_fails_keeps_what_it_has() -> None:
    engine = fails_at([6, 7, 8, 9], RequestRejectedError("too bright"))
    with pytest.raises(IncompleteError) as failure:
        await recipe().caption(video(), engine)
    assert str(failure.value) == "the chain stopped at window 4 of 5, 6 s: too bright"
    assert failure.value.cause is Cause.REFUSED
    rows = failure.value.rows
    assert [row.index for row in rows if row.level == "clip"] == [0, 1, 2]
    assert sum(row.level == "frame" for row in rows) == SECONDS, "frames do not need the chain"
    assert [8, 9, 10, 11] not in map(shown, engine.requests)


async def test_a_frame_that_fails_costs_neither_the_chain_nor_the_other_frames() -> None:
    engine = fails_at([5], RequestRejectedError("too bright"))
    with pytest.raises(IncompleteError, match=r"^the frame at 5 s failed: too bright$") as failure:
        await recipe().caption(video(), engine)
    rows = failure.value.rows
    assert sum(row.level == "clip" for row in rows) == WINDOWS
    assert [row.index for row in rows if row.level == "frame"] == [
        second for second in range(SECONDS) if second != 5
    ]


async def test_a_fault_that_is_no_video_s_is_not_hidden() -> None:
    with pytest.raises(StorageUnavailableError):
        await recipe().caption(video(), fails_at([2, 3, 4, 5], StorageUnavailableError("gone")))


async def test_a_file_without_a_picture() -> None:
    clip = video().decoded
    assert clip is not None
    sound = DecodedVideo(
        info=clip.info,
        frames=np.empty((0, 0, 0, 3), np.uint8),
        timestamps=np.empty(0),
        audio=clip.audio,
        audio_rate=8000,
    )
    with pytest.raises(UnusableMaterialError, match="no picture"):
        await recipe().caption(
            Video(video_id="a", uri="a", metadata=None, decoded=sound), ScriptedEngine(answer)
        )


@pytest.mark.parametrize("rate", [24000 / 1001, 25, 30000 / 1001, 30])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
async def test_every_second_shows_its_own_picture(
    tmp_path: Path, extension: str, rate: float
) -> None:
    count = int(8.5 * rate)
    times = [number / rate for number in range(count)]
    path = render(tmp_path / f"clip.{extension}", count=count, times=times)
    with open_range(str(path), StorageOptions()) as reader:
        clip = decode(reader, recipe().plan, DecodeLimits())

    def seconds(request: Request) -> list[int]:
        assert request.clip is not None
        return [round(number / rate) for number in numbers_of(request.clip.frames)]

    engine = ScriptedEngine(lambda request: f"Second {seconds(request)}.")
    film = Video(video_id="a", uri="a", metadata=None, decoded=clip)
    rows = await recipe().caption(film, engine)
    assert [(row.start_sec, row.caption) for row in rows if row.level == "frame"] == [
        (second, f"Second [{second}].") for second in range(9)
    ]
    assert [(row.start_sec, row.caption) for row in rows if row.level == "clip"] == [
        (start, f"Second {list(range(start, min(start + 4, 9)))}.") for start in (0, 2, 4, 6)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride_sec": 5}, "parts would go uncaptioned"),
        ({"window_sec": 0}, "recipe.options.window_sec"),
        ({"frames": 3}, "frames: there is no such setting; did you mean recipe.options.frame_sec"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**options)
