"""Frames as JPEG: what comes out is what went in, any of it, in little memory."""

import tracemalloc

import numpy as np

from schemas.frame_pack import FramePack, FramePacker
from schemas.media import DecodedVideo, VideoInfo
from tinyworld.render import frames_at
from tinyworld.world import sample_scenes

HOUR = 3600


def pictures(count: int, *, side: int = 112) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    scene = sample_scenes(1, seed=3)[0]
    times = [index / 2 for index in range(count)]
    return frames_at(scene, times, seconds=count / 2, width=side, height=side)


def pack_of(images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> FramePack:
    packer = FramePacker()
    for image in images:
        packer.add(image)
    return packer.pack()


def test_round_trip() -> None:
    images = pictures(8)
    found = pack_of(images).images(range(8))
    assert (found.shape, found.dtype) == (images.shape, np.uint8)
    error = np.abs(found.astype(int) - images)
    assert error.mean() < 2, "compressed too hard for a model to see the same"
    # Colours survive at edges too: no chroma is thrown away.
    assert np.percentile(error, 99) < 16


def test_any_frame_alone_and_in_any_order() -> None:
    pack = pack_of(pictures(8))
    assert len(pack) == 8
    every = pack.images(range(8))
    np.testing.assert_array_equal(pack.images([6, 1, 6]), every[[6, 1, 6]])
    assert pack.images([]).shape[0] == 0


def test_a_frame_that_stays_is_repeated() -> None:
    packer = FramePacker()
    first, second = pictures(6)[[0, 5]]
    packer.add(first)
    packer.repeat()
    packer.add(second)
    found = packer.pack().images(range(3))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[1] != found[2]).any()


def test_an_hour_of_frames_is_small() -> None:
    side = 112
    images = pictures(12, side=side)
    tracemalloc.start()
    packer = FramePacker()
    for index in range(HOUR):
        packer.add(images[index % 12])
    pack = packer.pack()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    raw = HOUR * side * side * 3
    assert len(pack) == HOUR
    assert pack.data.nbytes < raw / 5
    # It is never there twice.
    assert peak < 1.3 * pack.data.nbytes + 10e6
    clip = DecodedVideo(
        info=VideoInfo(
            duration_sec=HOUR, fps=1, width=side, height=side, has_video=True, has_audio=False
        ),
        frames=np.empty((0, 0, 0, 3), np.uint8),
        timestamps=np.arange(HOUR, dtype=np.float64),
        pack=pack,
    )
    tracemalloc.start()
    pack.images(range(3000, 3010))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert clip.num_frames == HOUR
    assert peak < 4 * 10 * side * side * 3, "unpacking a window unpacks more than the window"
