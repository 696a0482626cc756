"""Windows over a video, and what of a clip lies in each."""

import numpy as np
import pytest

from rayjob.recipes.windows import Window, cut, frames_within, windows_over
from schemas.frame_pack import FramePacker
from schemas.media import DecodedVideo, VideoInfo


def spans(duration: float, window: float, stride: float) -> list[tuple[float, float]]:
    found = windows_over(duration, window_sec=window, stride_sec=stride)
    assert [each.index for each in found] == list(range(len(found)))
    return [(each.start_sec, each.end_sec) for each in found]


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (3.0, [(0, 3)]),
        (10.0, [(0, 10)]),
        (10.005, [(0, 10)]),  # a rounding error is no window
        (12.5, [(0, 10), (5, 12.5)]),
        (15.0, [(0, 10), (5, 15)]),
        (25.0, [(0, 10), (5, 15), (10, 20), (15, 25)]),
        (26.0, [(0, 10), (5, 15), (10, 20), (15, 25), (20, 26)]),
    ],
)
def test_windows(duration: float, expected: list[tuple[float, float]]) -> None:
    assert spans(duration, 10, 5) == expected


@pytest.mark.parametrize("stride", [0.7, 1.0, 2.5, 4.0])
@pytest.mark.parametrize("duration", [0.04, 1.0, 59.97, 92.8, 3600.0])
def test_windows_cover_the_time_line(duration: float, stride: float) -> None:
    found = spans(duration, 4.0, stride)
    starts = np.array([start for start, _ in found])
    ends = np.array([end for _, end in found])
    np.testing.assert_allclose(np.diff(starts), stride)
    assert starts[0] == 0
    assert duration - 0.01 <= ends[-1] <= duration
    assert (starts[1:] < ends[:-1] + 1e-9).all(), "a gap between two windows"
    assert (ends[:-2] - starts[:-2] == pytest.approx(4.0)) if len(found) > 2 else True
    # All but the last one leave something for the next.
    assert (ends[:-1] < duration).all()


def make_clip(*, frames: int = 20, fps: float = 2.0, packed: bool = False) -> DecodedVideo:
    images = np.zeros((frames, 16, 16, 3), np.uint8)
    images[:] = (np.arange(frames) * 10)[:, None, None, None]
    packer = FramePacker()
    for image in images:
        packer.add(image)
    duration = frames / fps
    return DecodedVideo(
        info=VideoInfo(
            duration_sec=duration, fps=fps, width=16, height=16, has_video=True, has_audio=True
        ),
        frames=np.empty((0, 0, 0, 3), np.uint8) if packed else images,
        pack=packer.pack() if packed else None,
        timestamps=np.arange(frames) / fps,
        audio=np.arange(round(duration * 8000), dtype=np.float32),
        audio_rate=8000,
    )


def window(start: float, end: float) -> Window:
    return Window(index=0, start_sec=start, end_sec=end)


def test_frames_within() -> None:
    clip = make_clip()
    assert frames_within(clip, window(0, 2)) == [0, 1, 2, 3]
    assert frames_within(clip, window(2, 4)) == [4, 5, 6, 7]
    assert frames_within(clip, window(8, 10)) == [16, 17, 18, 19]
    assert frames_within(clip, window(0.6, 0.9)) == [1], "the frame that is still shown"
    assert frames_within(clip, window(9.9, 10)) == [19]


@pytest.mark.parametrize("packed", [False, True])
def test_cut(packed: bool) -> None:
    clip = make_clip(packed=packed)
    part = cut(clip, window(2, 4), frames=[4, 6], sound=True)
    np.testing.assert_allclose(part.frames[:, 0, 0, 0], [40, 60], atol=2)
    np.testing.assert_array_equal(part.timestamps, [0.0, 1.0])
    assert part.duration_sec == 2.0
    assert part.audio is not None
    np.testing.assert_array_equal(part.audio, np.arange(16000, 32000))
    silent = cut(clip, window(2, 4), frames=[4], sound=False)
    assert (silent.audio, silent.audio_rate) == (None, 0)


def test_sound_that_ends_before_the_picture() -> None:
    clip = make_clip()
    assert clip.audio is not None
    short = DecodedVideo(
        info=clip.info,
        frames=clip.frames,
        timestamps=clip.timestamps,
        audio=clip.audio[:8000],
        audio_rate=8000,
    )
    assert cut(short, window(4, 6), frames=[8], sound=True).audio is None
